"""Programs in their own processes."""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
LAUNCHER = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")

# Forks processes from one that has the imports behind it: each starts at once.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([
    "train", "evaluate", "dbnet.data.splits", "dbnet.detector", "dbnet.training.logger",
    "torch.distributed.run",
])  # fmt: skip


def fork(target: Callable[..., None], *args: object) -> BaseProcess:
    """Start a process that calls `target(*args)` and has the imports already."""
    process = CONTEXT.Process(target=target, args=args)
    with chdir(ROOT):  # the first call starts the server, which imports from here
        process.start()
    return process


def run_program(*words: object, cwd: Path = ROOT, stdin: str = "") -> subprocess.CompletedProcess:
    """Run `python` with these words in a forked process.

    Args:
        words: a script in the root, or "-m" and a module; then its command line.
        cwd: folder to run it in.
        stdin: what it reads.
    """
    command = list(map(str, words))
    with TemporaryDirectory() as folder:
        streams = [Path(folder) / name for name in ("stdin", "stdout", "stderr")]
        streams[0].write_text(stdin)
        process = fork(_run, command, cwd, streams, dict(os.environ))
        process.join()
        out, err = (stream.read_text() for stream in streams[1:])
    return subprocess.CompletedProcess(command, process.exitcode, out, err)


def torchrun(script: str, *words: str, restarts: int = 0) -> subprocess.CompletedProcess:
    """Run torchrun with two ranks, forked from a launcher that has the imports already."""
    forked = ("--run-path", "--start-method", "fork", "--max-restarts", restarts)
    return run_program(*LAUNCHER, *forked, ROOT / script, *words)


def _run(words: list[str], cwd: Path, streams: list[Path], environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    become_program(*streams)
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [str(ROOT / words[0]), *words[1:]]
        runpy.run_path(sys.argv[0], run_name="__main__")


def become_program(stdin: Path, stdout: Path, stderr: Path) -> None:
    """Give a forked process these streams, and the settings that `python` starts with."""
    for number, path in enumerate((stdin, stdout, stderr)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND), number)
    sys.stdin = os.fdopen(0, closefd=False)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    multiprocessing.set_start_method("fork", force=True)  # of the loader's workers


def said_before_torch(name: str, *words: str, cwd: Path = ROOT) -> str:
    """Output and exit status of a program, which must not import PyTorch.

    Args:
        name: of a script in the root, or of a module.
        words: on its command line.
        cwd: folder to run it in.
    """
    if name.endswith(".py"):
        start = f"run_path({str(ROOT / name)!r}, run_name='__main__')"
    else:
        start = f"run_module({name!r}, run_name='__main__', alter_sys=True)"
    code = (
        f"import sys, runpy; sys.argv = [{name!r}, *{words!r}]\n"
        "try:\n"
        f"    runpy.{start}\n"
        "except SystemExit as stop:\n"
        "    print(stop.code)\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
