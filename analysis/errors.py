"""The error for a user's mistake; every other exception is a defect of lmopt."""


class UserError(ValueError):
    """A mistake in what a person gave: a path, a condition, a column or an objective.

    The message is one line with the value, the rule and the remedy.
    """
