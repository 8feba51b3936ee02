"""The jobs of a run: prepare, worker, finalizer, guard, front timing, and their submission."""
