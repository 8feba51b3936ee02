"""The `lmopt` command."""
