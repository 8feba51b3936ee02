"""Runtimes: build an artifact, open it as a session."""
