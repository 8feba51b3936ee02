"""Content-addressed stages and the context that they run in."""
