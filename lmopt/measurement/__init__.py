"""Measuring of saved artifacts in a process of their own."""
