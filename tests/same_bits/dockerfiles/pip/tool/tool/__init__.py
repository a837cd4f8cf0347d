from tool import fast


def main():
    """Print the answer."""
    print(fast.answer())
