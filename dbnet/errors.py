"""Errors that users can fix, and the line that programs print for each.

Standard library only: errors of torch and NCCL are recognised by their names and texts.
"""


class InputError(ValueError):
    """A file or a setting that cannot be used. Programs print it as one line and exit."""


class Stopped(KeyboardInterrupt):
    """A signal has ended the program.

    Args:
        number: of the signal.
        message: one line with the progress of the run and the command that resumes it.
    """

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number


class NonFiniteError(RuntimeError):
    """The loss or the gradient is NaN or infinite."""


class OtherRankError(RuntimeError):
    """Another rank has failed and prints the reason itself."""


# Parts of error messages. gloo's messages name its source files. NCCL's are those of its versions
# 2.18 to 2.27 and of torch's watchdog.
_LOST_RANK = (
    "gloo/",
    "ncclRemoteError",
    "remote process exited",
    "communicator was aborted",
    "Watchdog caught collective operation timeout",
    "via c10d key-value store",
    "Connection closed by remote peer",
)
_GPU_MEMORY = (
    "CUDA out of memory",
    "CUDA error: out of memory",
    "MPS backend out of memory",
    "STATUS_ALLOC_FAILED",  # cuBLAS and cuDNN
)
_HOST_MEMORY = ("DefaultCPUAllocator: can't allocate memory", "MemoryError", "Insufficient memory")
_OPENCV_LIBRARIES = ("libGL.so", "libgthread", "libglib", "libSM.so", "libXext", "libXrender")
_NO_COMPILER = ("No working C++ compiler", "Cannot find a working triton installation")


def is_lost_rank(error: BaseException | None) -> bool:
    """Whether a collective operation has failed because another rank has ended."""
    while error is not None:
        if isinstance(error, RuntimeError) and _holds(error, _LOST_RANK):
            return True
        error = error.__cause__
    return False


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the GPU or the machine has run out of memory."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and _holds(error, _GPU_MEMORY + _HOST_MEMORY)


def one_line(error: Exception) -> str | None:
    """What happened and what to do, for errors that the user can fix; None for all others.

    These are: bad input, file errors, lost loader workers and ranks, too little memory, a missing
    compiler, and missing libraries of OpenCV.
    """
    if isinstance(error, (InputError, NonFiniteError)):
        return _message(error)
    if is_lost_rank(error):
        return "another rank has ended; its own line, or torchrun's report, says why"
    if is_out_of_memory(error):
        return _out_of_memory(error)
    if isinstance(error, OSError):
        named = f"{error.filename}: " if error.filename else ""
        return f"{named}{error.strerror or _message(error)}"
    if isinstance(error, RuntimeError):
        return _of_runtime(error)
    if isinstance(error, ImportError) and _holds(error, (*_OPENCV_LIBRARIES, "'cv2'")):
        return (
            f"OpenCV cannot be imported ({_message(error)}); install the build without a display: "
            "pip uninstall -y opencv-python; pip install 'opencv-python-headless>=5'"
        )
    return None


def _out_of_memory(error: Exception) -> str:
    text = _message(error).rpartition("DefaultCPUAllocator: ")[2]
    if _holds(error, _GPU_MEMORY):
        return (
            f"{text.partition(' Tried')[0].rstrip('. ')}: the GPU has too little memory; set a "
            "lower --data.batch-size or image size, or, for training, --train.recompute-encoder "
            "or a lower --data.train-size"
        )
    return (
        f"out of memory: {text}; set fewer --data.num-workers, a lower --data.batch-size or a "
        "lower image size"
    )


def _of_runtime(error: RuntimeError) -> str | None:
    text = str(error)
    if "DataLoader worker (pid" in text:
        first = text.splitlines()[0].strip().rstrip(".")
        return f"{first}; if memory is short, set fewer --data.num-workers"
    if "Too many open files" in text:
        return "too many open files; raise the limit (ulimit -n), or set fewer --data.num-workers"
    if _holds(error, _NO_COMPILER):
        return (
            "torch.compile needs a C++ compiler (on a GPU, triton), and found none; install one "
            "(g++), or leave --train.compile or --fast out"
        )
    if type(error).__name__ == "DistBackendError":
        reason = text.partition("Last error:\n")[2].splitlines() or [_message(error)]
        return f"NCCL: {reason[0]}; NCCL_DEBUG=INFO prints more"
    if type(error).__name__ in ("DistNetworkError", "DistStoreError"):
        return (
            f"the ranks do not reach each other ({_message(error)}); "
            "check torchrun's address and port, and that every machine has started"
        )
    return None


def _holds(error: BaseException, parts: tuple[str, ...]) -> bool:
    text = f"{type(error).__name__}: {error}"
    return any(part in text for part in parts)


def _message(error: Exception) -> str:
    """One line of the message: the first, or the last after a traceback of a loader worker."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if "Original Traceback" not in str(error):
        return lines[0]
    name, colon, message = lines[-1].partition(": ")
    return message if colon and name.endswith(type(error).__name__) else lines[-1]
