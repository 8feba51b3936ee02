"""Optuna's own messages, which repeat what lmopt says in its words."""

import warnings

import optuna


def quiet_optuna() -> None:
    """Keep Optuna's log lines below warnings, and its notes on experimental parts, off stderr."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
