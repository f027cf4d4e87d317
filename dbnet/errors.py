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


class OtherRankError(RuntimeError):
    """Another rank is about to end, and says why itself."""


def is_lost_rank(error: BaseException | None) -> bool:
    """Whether it comes from another rank's end, which broke off what ranks do together."""
    while error is not None:
        if isinstance(error, RuntimeError) and "gloo/" in str(error):
            return True
        error = error.__cause__
    return False


def one_line(error: Exception) -> str | None:
    """What happened, where the user can mend it: bad input, files, killed workers; else None."""
    if isinstance(error, (InputError, NonFiniteError)):
        # From a loader worker it comes with a traceback above.
        last = str(error).strip().splitlines()[-1]
        return last.removeprefix(f"{__name__}.{type(error).__name__}: ")
    if isinstance(error, OSError):
        named = f"{error.filename}: " if error.filename else ""
        return f"{named}{error.strerror or error}"
    if is_lost_rank(error):
        return "another rank has ended; its own line, or torchrun's report, says why"
    if isinstance(error, RuntimeError) and "DataLoader worker (pid" in str(error):
        first = str(error).splitlines()[0].strip().rstrip(".")
        return f"{first}; if memory is short, set fewer --data.num-workers"
    return None
