"""The errors that are no defects: a user's mistake, and a scheduler that does not obey."""


class UserError(ValueError):
    """A mistake in what a person gave: a profile, a folder or what a job asks for.

    The message is one line with the value, the rule and the remedy.
    """


class SchedulerError(RuntimeError):
    """Slurm or a machine did not do what it was asked to; the message is one line."""
