"""What went wrong in the user's world and not in the code."""


class InputError(ValueError):
    """A file or a setting that cannot be used; the scripts print it as one line and exit."""


class NonFiniteError(RuntimeError):
    """The loss or the gradient is no longer a number."""
