"""train.py in its own process group, which receives real signals."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import train
from configs import Config
from dbnet.runtime import cli
from tests.programs import become_program, fork


def flags(cfg: Config) -> list[str]:
    """The settings of `runs.small` as a command line."""
    data, run = cfg.data, cfg.train
    return (
        f"--data.root {data.root} --data.image-size 96 --data.batch-size 2 "
        f"--data.num-workers {data.num_workers} --data.cache-dir {data.cache_dir} "
        "--augment.rotate 5 --augment.color 0.3 --model.encoder mobilenetv3_small_050 "
        "--model.no-pretrained --model.fpn-channels 16 --optim.warmup-epochs 0.5 "
        f"--optim.step-size 1 --train.epochs {run.epochs} --train.precision fp32 "
        f"--train.device cpu --train.out {run.out} --train.name run "
        f"--train.save-minutes {run.save_minutes}"
    ).split()


class Script:
    """`python train.py` with these words; its output goes to a file."""

    def __init__(self, *words: str, output: Path) -> None:
        self.output = output
        self.process = fork(_run, words, output)
        self.pid = self.process.pid

    def wait_for(self, found: Callable[[], object]) -> None:
        deadline = time.monotonic() + 120
        while not found():
            assert self.process.is_alive(), self.output.read_text()
            assert time.monotonic() < deadline, self.output.read_text()
            time.sleep(0.01)

    def workers(self) -> list[int]:
        return [pid for pid in living(self.pid) if pid != self.pid]

    def end(self) -> tuple[int, str]:
        """Exit status and output, once no process of the group is left."""
        self.process.join(120)
        deadline = time.monotonic() + 60
        while living(self.pid):
            assert time.monotonic() < deadline, "a process is left behind"
            time.sleep(0.05)
        return self.process.exitcode, self.output.read_text()


def _run(words: tuple[str, ...], output: Path) -> None:
    os.setsid()
    become_program(Path(os.devnull), output, output)
    sys.argv = ["train.py", *words]
    with cli.errors_as_lines():
        train.main(*train.parse())


def living(group: int) -> list[int]:
    """Ids of the running processes of a group."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(status.parent.name))
    return found
