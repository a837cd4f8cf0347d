WORDS = {"a", "b", "c", "d", "e"}


def known(word):
    """Whether the word is one of the last."""
    return word in {"x", "y", "z"}
