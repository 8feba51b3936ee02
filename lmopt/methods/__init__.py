"""Compression methods, each in one module."""
