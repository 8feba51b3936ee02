"""The Optuna study of a run: storage, proposals, attempts, healing, rebuilding."""
