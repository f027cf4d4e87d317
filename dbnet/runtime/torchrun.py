"""What torchrun says in the environment of the processes that it starts."""

import os
import socket


def is_started_by_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def launch() -> str | None:
    """One call of torchrun, the same over its restarts; None where torchrun was not called."""
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    return f"{socket.gethostname()}:{os.getppid()}" if name == "none" else name


def restarts() -> int:
    """How often torchrun has started ranks again because one of this machine was lost."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))


def launcher() -> str:
    """The words before the script on the command line of this program."""
    if not is_started_by_torchrun():
        return "python"
    machines = int(os.environ["GROUP_WORLD_SIZE"])
    across = f"--nnodes {machines} ... " if machines > 1 else ""
    return f"torchrun {across}--nproc-per-node {os.environ['LOCAL_WORLD_SIZE']}"
