"""Real signals to real runs with loader workers."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import train
from dbnet.checkpoint import load_checkpoint, save_checkpoint
from dbnet.errors import InputError
from tests.drawing import write_dataset
from tests.faults.runs import assert_equal_runs, small
from tests.faults.scripts import Script, flags
from tests.programs import fork

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
ROOT = Path(__file__).parents[2]


@pytest.mark.faults("Ctrl-C or SIGTERM to all processes", "the step is finished and saved")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_to_all_processes_stops_in_order(pages, tmp_path, name):
    number, folder = signal.Signals[name], tmp_path / "run"
    cfg = small(pages, tmp_path, workers=2, epochs=500, save_minutes=0)
    script = Script(*flags(cfg), output=tmp_path / "told")
    script.wait_for((folder / "last.pt").exists)
    os.killpg(script.pid, number)
    status, told = script.end()
    assert status == 128 + number, told
    assert "Traceback" not in told
    assert told.count("Ctrl-C again") == (name == "SIGINT"), "the workers heard it too"
    state = load_checkpoint(folder / "last.pt")
    assert state["step"] % 2 == 0
    last = told.strip().splitlines()[-1]
    assert last.startswith(f"train.py: stopped by {name} after ")
    assert last.endswith(f"resume with: python train.py --train.resume {folder}")


@pytest.mark.faults("SIGTERM to `python train.py` itself", "exit status 143, and the command")
def test_the_script_itself_stops_in_order(pages, tmp_path):
    cfg = small(pages, tmp_path, epochs=500, save_minutes=0)
    words = [sys.executable, str(ROOT / "train.py"), *flags(cfg)]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, cwd=ROOT, stdout=pipe, stderr=pipe, text=True) as process:
        while not (tmp_path / "run" / "last.pt").exists() and process.poll() is None:
            time.sleep(0.05)
        process.terminate()
        told = process.communicate(timeout=120)[1]
    assert process.returncode == 143, told
    assert told.strip().splitlines()[-1].startswith("train.py: stopped by SIGTERM after ")


@pytest.mark.faults("a second Ctrl-C", "leaves at once, workers too")
def test_a_second_ctrl_c_leaves_at_once(tmp_path):
    many = write_dataset(tmp_path / "many", train=400, val=1)
    cfg = small(many, tmp_path, workers=2, epochs=1)
    words = (*flags(cfg), "--train.accumulate", "1000")  # the epoch is one step, too long to wait
    script = Script(*words, output=tmp_path / "told")
    script.wait_for(lambda: len(script.workers()) == 2)
    os.killpg(script.pid, signal.SIGINT)
    script.wait_for(lambda: "Ctrl-C again leaves at once" in script.output.read_text())
    os.killpg(script.pid, signal.SIGINT)
    status, told = script.end()
    assert status == 130, told
    assert told.strip().endswith("train.py: stopped at once") and "Traceback" not in told
    assert not (tmp_path / "run" / "last.pt").exists()


@pytest.mark.faults("SIGKILL at any moment", "resumed, the run equals one that was not killed")
def test_a_killed_run_resumes_equal(pages, whole, tmp_path):
    cfg, folder = small(pages, tmp_path, workers=2, save_minutes=0), tmp_path / "run"
    script = Script(*flags(cfg), output=tmp_path / "told")
    script.wait_for((folder / "last.pt").exists)
    time.sleep(random.uniform(0, 1))
    script.process.kill()
    script.end()
    state = load_checkpoint(folder / "last.pt")
    if state["epoch"] < 2:
        time.sleep(1)  # event files of one second are sorted by process, not by age
        train.main(small(pages, tmp_path, save_minutes=0, resume=folder))
    assert_equal_runs(whole, folder)
    left = [name for name in os.listdir("/dev/shm") if f"_{script.pid}_" in name]  # noqa: PTH208
    assert left == []


@pytest.mark.faults("a second process in a run's folder", "refused, until the first has ended")
def test_two_processes_do_not_train_one_run(pages, tmp_path):
    cfg, folder = small(pages, tmp_path, workers=2, epochs=500), tmp_path / "run"
    script = Script(*flags(cfg), output=tmp_path / "told")
    script.wait_for((folder / "last.pt").exists)
    for again in (cfg, small(pages, tmp_path, epochs=600, resume=folder)):
        with pytest.raises(InputError, match="run: another process is training it"):
            train.main(again)
    script.process.kill()
    script.end()
    with pytest.raises(InputError, match="run: exists; choose another"):
        train.main(cfg)


def save_for_ever(folder: Path) -> None:
    weights = torch.zeros(2**18)
    for count in range(10**9):
        weights.fill_(count)
        payload = {"model_args": {}, "model": {"weights": weights}, "ema": None, "count": count}
        for name in ("best.pt", "last.pt"):
            save_checkpoint(folder / name, payload)


@pytest.mark.faults("SIGKILL while saving, 20 times", "last.pt and best.pt are whole, each time")
def test_a_kill_while_saving_leaves_whole_files(tmp_path):
    for turn in range(20):
        process = fork(save_for_ever, tmp_path)
        while not (tmp_path / "last.pt").exists() and process.is_alive():
            time.sleep(0.001)
        time.sleep(random.uniform(0.1, 0.3))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, turn
        for name in ("best.pt", "last.pt"):
            payload = load_checkpoint(tmp_path / name)
            assert (payload["model"]["weights"] == payload["count"]).all()
