"""Images named on a command line."""

from pathlib import Path

import pytest

from dbnet.errors import InputError
from dbnet.inference.inputs import find_images, not_read


@pytest.fixture
def scans(tmp_path) -> Path:
    """Six names; only one of them is an image."""
    folder = tmp_path / "scans"
    (folder / ".hidden").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    for name in ("a.jpg", "c.svg", "notes.txt", ".hidden/d.txt", "../other/e.jpg"):
        (folder / name).touch()
    (folder / "2024").symlink_to(tmp_path / "other")
    (folder / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    return folder


LEFT = ["2024 (a linked folder)", "c.svg", "gone.jpg (a link that leads nowhere)", "notes.txt"]


@pytest.mark.parametrize("word", ["scans", "sca*", "**/scans"])
def test_what_a_folder_holds_beside_its_images_is_named(scans, word, monkeypatch):
    monkeypatch.chdir(scans.parent)
    assert [source.name for source in find_images([word])] == ["a.jpg"]
    assert not_read([word, "none"]) == [f"scans/{name}" for name in LEFT]


def test_an_unreadable_folder_is_named(scans, lock):
    (scans / "locked").mkdir()
    lock(scans / "locked")
    assert f"{scans}/locked (Permission denied)" in not_read([str(scans)])


def test_a_folder_without_images_names_what_it_holds(scans):
    (scans / "a.jpg").unlink()
    with pytest.raises(InputError, match=r"holds no images .*; not read: 2024 \(a linked folder\)"):
        find_images([str(scans)])
