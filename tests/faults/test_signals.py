"""Real signals to real runs: train.py in a process group of its own, with loader workers."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import train
from configs import to_dict
from dbnet.checkpoint import load_checkpoint
from tests.faults.runs import assert_equal_runs, small

ROOT = Path(__file__).parents[2]

# A background job of a shell ignores Ctrl-C; this one must not, however pytest was started.
START = (
    "import runpy, signal, sys\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "sys.argv = sys.argv[1:]\n"
    "runpy.run_path(sys.argv[0], run_name='__main__')\n"
)


def flags(cfg) -> list[str]:
    """The settings of `small` as a command line."""
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


class Run:
    """train.py in a process group of its own."""

    def __init__(self, *words: str, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, str(ROOT / "train.py"), *words],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
            start_new_session=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def wait_for(self, found) -> None:
        deadline = time.monotonic() + 120
        while not found():
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def end(self) -> tuple[int, str]:
        """Exit status and output; afterwards no process of the group is left."""
        output = self.process.communicate(timeout=120)[0]
        deadline = time.monotonic() + 20
        while members(self.process.pid):
            assert time.monotonic() < deadline, "a worker is left behind"
            time.sleep(0.05)
        return self.process.returncode, output

    def workers(self) -> list[int]:
        return [pid for pid in members(self.process.pid) if pid != self.process.pid]


def members(group: int) -> list[int]:
    """Living processes of a process group."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(status.parent.name))
    return found


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@linux_only
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_to_the_whole_group_stops_in_order(pages, tmp_path, name):
    number = signal.Signals[name]
    cfg = small(pages, tmp_path, workers=2, epochs=500, save_minutes=0)
    folder = tmp_path / "run"
    run = Run(*flags(cfg), folder=folder)
    run.wait_for((folder / "last.pt").exists)
    os.killpg(run.process.pid, number)
    status, output = run.end()
    assert status == 128 + number, output
    assert "Traceback" not in output
    state = load_checkpoint(folder / "last.pt")
    assert state["step"] % 2 == 0
    last = output.strip().splitlines()[-1]
    assert last.startswith(f"train.py: stopped by {name} after ")
    assert last.endswith(f"go on with: python train.py --train.resume {folder}")
    assert to_dict(cfg)["train"]["save_minutes"] == 0


@linux_only
def test_a_second_ctrl_c_leaves_at_once(pages, tmp_path):
    # One optimizer step spans an epoch of many small batches: nobody waits for its end.
    cfg = small(pages, tmp_path, workers=2, epochs=1)
    folder = tmp_path / "run"
    run = Run(*flags(cfg), "--train.accumulate", "100000", "--data.batch-size", "1", folder=folder)
    run.wait_for(lambda: len(run.workers()) >= 2)
    os.killpg(run.process.pid, signal.SIGINT)
    os.killpg(run.process.pid, signal.SIGINT)
    status, output = run.end()
    assert status == 130, output
    assert "Traceback" not in output


@linux_only
def test_killed_and_resumed(pages, tmp_path):
    whole = train.main(small(pages, tmp_path / "whole"))
    cfg = small(pages, tmp_path, workers=2, save_minutes=0)
    folder = tmp_path / "run"
    run = Run(*flags(cfg), folder=folder)
    run.wait_for((folder / "last.pt").exists)
    run.process.kill()
    status, _ = run.end()
    assert status == -signal.SIGKILL
    train.main(small(pages, tmp_path, save_minutes=0, resume=folder))
    assert_equal_runs(whole, folder)
