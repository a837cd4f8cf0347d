"""How each source of software resolves declarations to hashes, and how locked bytes are had again."""
