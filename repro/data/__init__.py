"""Bytes from outside and their digests: downloads by hash, files and folders hashed, with a cache of what was hashed."""
