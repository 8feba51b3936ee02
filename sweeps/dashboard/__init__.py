"""optuna-dashboard on a read-only copy of a run."""
