"""Environment variables that torchrun sets for the processes that it starts."""

import os
import socket


def is_started_by_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def launch() -> str | None:
    """A name of this call of torchrun, the same for all its restarts; None without torchrun."""
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    return f"{socket.gethostname()}:{os.getppid()}" if name == "none" else name


def restarts() -> int:
    """How often torchrun has restarted the ranks because a rank of this machine was lost."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))


def launcher() -> str:
    """The command that starts a program in the way this one was started: python or torchrun."""
    if not is_started_by_torchrun():
        return "python"
    machines = int(os.environ["GROUP_WORLD_SIZE"])
    across = f"--nnodes {machines} ... " if machines > 1 else ""
    return f"torchrun {across}--nproc-per-node {os.environ['LOCAL_WORLD_SIZE']}"
