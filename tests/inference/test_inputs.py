"""Images named on a command line."""

from dbnet.inference.inputs import not_read


def test_files_and_linked_folders_that_are_not_read_are_named(tmp_path):
    (tmp_path / "scans/.hidden").mkdir(parents=True)
    for name in ("a.jpg", "b.HEIC", "c.pdf", ".hidden/d.txt"):
        (tmp_path / "scans" / name).touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "scans/2024").symlink_to(tmp_path / "other")
    assert not_read([str(tmp_path / "scans"), str(tmp_path / "none")]) == [
        str(tmp_path / "scans/2024"),
        str(tmp_path / "scans/c.pdf"),
    ]
