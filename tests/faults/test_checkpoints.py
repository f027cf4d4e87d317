"""Checkpoints on a full or read-only disk, damaged, or from other programs."""

import copy
import errno
import io
import os
import resource
import shutil
import time
import zipfile
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import train
from dbnet.checkpoint import load_checkpoint, save_checkpoint
from dbnet.errors import InputError
from dbnet.model.dbnet import DBNet
from tests.faults.runs import assert_equal_runs, same, small

PAYLOAD = {"model_args": {}, "model": {"weights": torch.arange(2.0**18)}, "ema": None}


@pytest.mark.faults("disk full while saving (a real limit)", "one line, the earlier file is kept")
@pytest.mark.parametrize("kilobytes", [0, 1, 100, 1000])
def test_a_file_that_may_not_grow_keeps_the_earlier_one(tmp_path, kilobytes):
    path = tmp_path / "last.pt"
    save_checkpoint(path, PAYLOAD | {"epoch": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000 * kilobytes, limits[1]))
    try:
        with pytest.raises(InputError) as caught:
            save_checkpoint(path, PAYLOAD | {"epoch": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(caught.value) == f"{path}: cannot be written ({os.strerror(errno.EFBIG)})"
    assert load_checkpoint(path)["epoch"] == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.faults("a loader worker killed during a save", "told as at any other time")
def test_what_interrupts_a_save_is_not_hidden(tmp_path, monkeypatch):
    class Interrupted(io.FileIO):
        def write(self, _):
            raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")

    monkeypatch.setattr(Path, "open", lambda path, mode: Interrupted(path, mode))
    with pytest.raises(RuntimeError, match=r"^DataLoader worker"):
        save_checkpoint(tmp_path / "last.pt", PAYLOAD)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.faults("disk full in mid-epoch", "one line, last.pt is kept, resumed bit by bit")
def test_a_run_on_a_full_disk_is_told_and_resumed(pages, whole, tmp_path, monkeypatch):
    fsync, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(InputError) as caught:
            train.main(small(pages, tmp_path, save_minutes=0))
    message = "cannot be written (No space left on device); fix this, then resume with: python "
    assert f": {message}train.py --train.resume {folder}" in str(caught.value)
    assert not list(folder.glob("*.tmp"))
    assert load_checkpoint(folder / "last.pt")["step"] == 4
    assert_equal_runs(whole, train.main(small(pages, tmp_path, resume=folder)))


@pytest.mark.parametrize("moved", [{"name": "other"}, {"out": Path("elsewhere")}])
def test_a_resumed_run_stays_where_it_is(pages, tmp_path, moved):
    folder = train.main(small(pages, tmp_path, epochs=1))
    cfg = small(pages, tmp_path, epochs=2, resume=folder)
    with pytest.raises(InputError, match=f"keeps its settings, but train.{next(iter(moved))}: "):
        train.main(replace(cfg, train=replace(cfg.train, **moved)))


@pytest.mark.faults("half a checkpoint that a kill has left", "the next save removes it")
def test_what_a_kill_has_left_goes_away(pages, tmp_path):
    folder = train.main(small(pages, tmp_path, epochs=1))
    left, young = (folder / f".{name}.tmp" for name in ("left", "young"))
    for draft in (left, young):
        draft.write_bytes(b"half a checkpoint")
    for draft, age in ((left, 3600), (young, -3600)):
        os.utime(draft, (time.time() - age,) * 2)
    train.main(small(pages, tmp_path, epochs=2, resume=folder))
    assert not left.exists()
    assert young.exists(), "another program may be writing it"


@pytest.mark.faults("too little disk for the checkpoints", "refused before the first epoch")
def test_too_little_disk_is_refused_before_the_start(pages, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 10**6, 10**6))
    with pytest.raises(InputError, match=r"1 MB are free .* the checkpoints need \d+ MB"):
        train.main(small(pages, tmp_path, name="refused"))
    assert not (tmp_path / "refused").exists()


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_the_room_asked_for_is_what_a_run_takes(pages, tmp_path, monkeypatch, ema):
    asked = []
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: asked.append(path) or usage(10**12))
    folder = train.main(small(pages, tmp_path, epochs=1, ema=ema))
    files = {name: (folder / name).stat().st_size for name in ("last.pt", "best.pt")}
    needed = 2 * files["last.pt"] + files["best.pt"]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0.75 * needed))
    with pytest.raises(InputError, match="are free"):
        train.main(small(pages, tmp_path, epochs=1, ema=ema, name="other"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(needed))
    train.main(small(pages, tmp_path, epochs=1, ema=ema, name="other"))
    # What the run's own files hold counts as free: they are replaced.
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(files["last.pt"]))
    train.main(small(pages, tmp_path, epochs=2, ema=ema, resume=folder))
    assert asked == [tmp_path]


@pytest.mark.faults("run folder that cannot be written", "refused before the first epoch")
@pytest.mark.parametrize("resumed", [False, True])
def test_an_unwritable_folder_is_refused_before_the_start(pages, tmp_path, monkeypatch, resumed):
    changes = {"resume": train.main(small(pages, tmp_path, epochs=1))} if resumed else {}

    def read_only(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "touch", read_only)
    with pytest.raises(InputError, match=r"cannot be written \(Read-only file system\)") as refusal:
        train.main(small(pages, tmp_path, epochs=2, **changes))
    advice = "; make it writable" + (", or choose another --train.out" if not resumed else "")
    assert str(refusal.value).endswith(advice)


@pytest.mark.faults("a file where the run folder should be", "refused before the first epoch")
def test_a_file_in_the_way_is_refused_before_the_start(pages, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"file: cannot be written \(Not a directory\)"):
        train.main(small(pages, tmp_path / "file" / "runs"))


@pytest.mark.faults("resume beside a better best.pt", "it is not replaced")
def test_a_better_best_stays(pages, tmp_path):
    folder = train.main(small(pages, tmp_path, epochs=1))
    best = load_checkpoint(folder / "best.pt")
    save_checkpoint(folder / "best.pt", best | {"best": 2.0})
    before = (folder / "best.pt").read_bytes()
    train.main(small(pages, tmp_path, epochs=2, resume=folder))
    assert (folder / "best.pt").read_bytes() == before
    assert load_checkpoint(folder / "last.pt")["best"] == 2.0


@pytest.mark.faults("checkpoint with any byte changed or cut", "refused, or read as it was")
def test_no_damage_goes_unseen(tmp_path):
    path = tmp_path / "last.pt"
    payload = PAYLOAD | {"model": {"weights": torch.arange(500.0)}, "epoch": 7}
    save_checkpoint(path, payload)
    whole = path.read_bytes()
    expected = load_checkpoint(path)
    refused = 0
    for place in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[place] ^= 0x40
        for content in (bytes(damaged), whole[:place]):
            path.write_bytes(content)
            try:
                assert same(load_checkpoint(path), expected), place
            except InputError as error:
                assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
                refused += 1
    assert refused > len(whole) / 3


def repacked(path: Path, *, packed: bool, overlapping: bool = False) -> None:
    """The same checkpoint from another archive writer. `overlapping`: a member is listed twice."""
    with zipfile.ZipFile(path) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    kind = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, content in members:
            archive.writestr(name, content)
        if overlapping:
            largest = max(archive.infolist(), key=lambda member: member.file_size)
            archive.filelist += [copy.copy(largest) for _ in range(9)]


@pytest.mark.faults("a small checkpoint that unpacks to much memory", "refused unread")
def test_a_packed_checkpoint_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    save_checkpoint(path, PAYLOAD | {"model": {"weights": torch.zeros(10**6)}})
    repacked(path, packed=False)
    assert load_checkpoint(path)["model"]["weights"].numel() == 10**6
    monkeypatch.setattr(zipfile.ZipFile, "testzip", None)  # would unpack it
    for changes, reason in (
        ({"packed": True}, "are compressed"),
        ({"packed": False, "overlapping": True}, "overlap"),
    ):
        save_checkpoint(path, PAYLOAD | {"model": {"weights": torch.zeros(10**6)}})
        repacked(path, **changes)
        with pytest.raises(InputError, match=rf"last\.pt: .*its members {reason}"):
            load_checkpoint(path)


@pytest.mark.faults("best.pt given as last.pt", "refused: it holds weights only")
def test_weights_alone_are_not_resumed(pages, tmp_path):
    folder = train.main(small(pages, tmp_path, epochs=1))
    (folder / "best.pt").replace(folder / "last.pt")
    with pytest.raises(InputError, match="holds weights only"):
        train.main(small(pages, tmp_path, epochs=2, resume=folder))


@pytest.mark.faults("last.pt of another architecture", "refused with the difference")
def test_another_encoder_is_not_resumed(pages, tmp_path):
    folder = train.main(small(pages, tmp_path, epochs=1))
    state = load_checkpoint(folder / "last.pt")
    other = DBNet(encoder="mobilenetv3_small_050", fpn_channels=32).state_dict()
    save_checkpoint(folder / "last.pt", state | {"model": other})
    with pytest.raises(InputError, match=r"does not fit this model in \d+ places: "):
        train.main(small(pages, tmp_path, epochs=2, resume=folder))
