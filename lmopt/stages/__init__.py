"""Content-addressed stages and their context."""
