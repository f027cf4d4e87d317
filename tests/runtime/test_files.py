"""Files are written whole or not at all, by several writers too; new folders are unique."""

import errno
import json
import os
import re
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from dbnet.checkpoint import load_checkpoint, save_checkpoint
from dbnet.data.storage.array_file import map_arrays, write_arrays
from dbnet.data.storage.store import KEY_BYTES, Store
from dbnet.errors import InputError
from dbnet.reporting.tables import write_json, write_picture
from dbnet.runtime import files
from dbnet.runtime.files import check_output, new_folder, remove_leftovers, replacing

KEY = bytes(KEY_BYTES)
PAYLOAD = {"model_args": {}, "model": {}, "ema": None}


def write_entry(path: Path, number: int) -> None:
    Store(folder=path).write(KEY, bytes([number]))


def write_grey(path: Path, number: int) -> None:
    write_picture(path, np.full((8, 8, 3), number, np.uint8))


WRITERS = {
    "net.pt": (
        lambda path, number: save_checkpoint(path, PAYLOAD | {"epoch": number}),
        lambda path: load_checkpoint(path)["epoch"],
    ),
    "figures.json": (write_json, lambda path: json.loads(path.read_text())),
    "grey.png": (write_grey, lambda path: cv2.imread(str(path)).max()),
    "some.arrays": (
        lambda path, number: write_arrays(path, "key", number, {}),
        lambda path: map_arrays(path, "key")[0],
    ),
    "entries": (write_entry, lambda path: Store(folder=path).read(KEY)[0]),
}


@pytest.mark.parametrize("name", WRITERS)
def test_two_writers_with_one_process_id_do_not_meet(tmp_path, monkeypatch, caplog, name):
    write, read = WRITERS[name]
    path, replace, seen = tmp_path / name, Path.replace, []

    def let_another_pass(draft: Path, target: Path) -> None:
        monkeypatch.setattr(Path, "replace", replace)
        write(path, 2)
        seen.append(read(path))
        draft.replace(target)

    monkeypatch.setattr(Path, "replace", let_another_pass)
    write(path, 1)
    assert [*seen, read(path)] == [2, 1], "each was there whole, the last one stays"
    assert sum(found.is_file() for found in tmp_path.rglob("*")) == 1
    assert caplog.messages == []


@pytest.mark.parametrize("error", [OSError, RuntimeError, KeyboardInterrupt])
def test_after_an_error_all_is_as_it_was(tmp_path, error):
    path = tmp_path / "precious"
    path.write_text("before")
    with pytest.raises(error), replacing(path) as draft:
        draft.write_text("aft")
        raise error
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_the_longest_name_has_a_draft_too(tmp_path):
    path = tmp_path / ("n" * 255)
    with replacing(path) as draft:
        draft.write_text("whole")
    assert path.read_text() == "whole"


def test_errors_name_the_file_and_not_its_draft(tmp_path):
    path = tmp_path / "none" / "file"
    with pytest.raises(FileNotFoundError) as caught, replacing(path) as draft:
        draft.write_text("never")
    assert caught.value.filename == str(path)
    (tmp_path / "folder" / "full").mkdir(parents=True)
    with pytest.raises(IsADirectoryError) as caught, replacing(tmp_path / "folder") as draft:
        draft.write_text("never")
    assert caught.value.filename == str(tmp_path / "folder")
    other = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "other")
    with pytest.raises(FileNotFoundError) as caught, replacing(path):
        raise other
    assert caught.value.filename == "other"


def test_a_picture_too_wide_for_its_type_is_refused_by_name(tmp_path):
    with pytest.raises(OSError, match=r"wide\.jpg: cannot be written"):
        write_picture(tmp_path / "wide.jpg", np.zeros((1, 70_000, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_only_old_drafts_are_leftovers(tmp_path):
    names = ("old.tmp", "deep/.old.tmp", "young.tmp", "old.pt")
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        if "old" in name:
            os.utime(path, (time.time() - 3600,) * 2)
    remove_leftovers(tmp_path)
    assert [(tmp_path / name).exists() for name in names] == [False, False, True, True]


def test_folders_of_one_second_are_numbered(tmp_path, monkeypatch):
    monkeypatch.setattr(files.time, "strftime", lambda form: form.replace("%Y%m%d-%H%M%S", "NOW"))
    made = [new_folder(tmp_path / "runs", "eval") for _ in range(3)]
    assert [folder.name for folder in made] == ["eval-NOW", "eval-NOW-2", "eval-NOW-3"]
    assert all(folder.is_dir() for folder in made)
    assert new_folder(tmp_path / "runs", "profile").name == "profile-NOW"


def test_folders_that_cannot_be_made_are_named(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "none")
    (tmp_path / "file").touch()
    for parent in ("link", "file"):
        with pytest.raises(FileExistsError) as caught:
            new_folder(tmp_path / parent, "eval")
        assert str(caught.value.filename) == str(tmp_path / parent)


@pytest.mark.faults("--out that holds results already", "refused before any work")
def test_results_in_the_output_folder_are_refused(tmp_path):
    check_output(tmp_path / "new" / "deep", ("a.json", "worst"))
    assert not (tmp_path / "new").exists(), "it is made when there is something to write"
    check_output(tmp_path, ("a.json",))
    (tmp_path / "worst").mkdir()
    with pytest.raises(InputError, match=f"^{tmp_path}/worst: exists; choose another --out$"):
        check_output(tmp_path, ("a.json", "worst"))
    assert [path.name for path in tmp_path.iterdir()] == ["worst"]


@pytest.mark.faults("--out that cannot be written", "refused before any work")
@pytest.mark.parametrize("error", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_an_output_folder_that_cannot_be_written_is_refused(tmp_path, monkeypatch, error):
    def refuse(*_, **__):
        raise OSError(error, os.strerror(error))

    with pytest.raises(InputError, match=r"file: cannot be written \(Not a directory\); choose"):
        (tmp_path / "file").touch()
        check_output(tmp_path / "file" / "out", ())
    monkeypatch.setattr(Path, "touch", refuse)
    message = f"{tmp_path}: cannot be written ({os.strerror(error)}); choose another --out"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        check_output(tmp_path / "out", ())
