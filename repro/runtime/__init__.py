"""Containers without daemon, root or setuid helper: namespaces, mounts, seccomp, pid 1. The only ctypes code."""
