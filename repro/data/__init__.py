"""Bytes from outside and their digests: downloads by hash; files and folders hashed, and what was hashed kept."""
