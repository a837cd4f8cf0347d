NAMES = frozenset({"one", "two", "three", "four"})
