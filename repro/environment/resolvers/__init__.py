"""One module per source of software: how its declarations resolve to hashes, and how locked bytes are had again."""
