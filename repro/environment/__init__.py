"""Environments: declared software, resolved to a lock, rendered to a recipe. It knows no build engine."""
