"""The hub: sweep definition, search, worker, finalizer and the `lmopt` command."""
