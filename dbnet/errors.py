"""What went wrong in the user's world and not in the code."""


class InputError(ValueError):
    """A file or a setting that cannot be used; the scripts print it as one line and exit."""


class Stopped(KeyboardInterrupt):
    """A signal has ended the program; its number, and a line that says where that leaves things."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number


class NonFiniteError(RuntimeError):
    """The loss or the gradient is no longer a number."""
