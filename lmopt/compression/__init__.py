"""Compression algorithms on torch models, each usable alone."""
