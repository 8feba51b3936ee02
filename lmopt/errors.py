"""The error for a user's mistake; every other exception is a defect of lmopt."""


class UserError(ValueError):
    """A mistake in what a person gave: data, a model or a setting.

    The message is one line with the value, the rule and the remedy.
    """
