"""The run directory: files, claims, rounds, rows, progress, provenance, logs."""
