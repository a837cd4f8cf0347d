"""Containers without daemon, root or setuid helper: namespaces, mounts, pid 1. The only ctypes code."""
