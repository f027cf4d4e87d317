"""The examples of docs/data-formats.md can be read unchanged."""

import re
from pathlib import Path

import pytest
from PIL import Image

from dbnet.data.annotations.formats import FORMATS
from dbnet.data.annotations.scan import load_records

PAGE = Path(__file__).parents[2] / "docs/data-formats.md"
EXAMPLES = re.findall(r"```\n(\S+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
UNMARKED = {"doctr", "yolo"}
UNTOLD = {"doctr", "yolo", "labelstudio"}  # without the transcription


@pytest.mark.parametrize("place, content", EXAMPLES, ids=[place for place, _ in EXAMPLES])
def test_an_example_is_read(tmp_path, place, content):
    (tmp_path / "images/train").mkdir(parents=True)
    Image.new("RGB", (100, 80)).save(tmp_path / "images/train/a.png")
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    (record,), report = load_records(tmp_path, "train", format="auto")
    assert report.texts == 1 and report.ignored == (report.format not in UNMARKED)
    assert record.polygons[0].tolist() == [[50, 20], [90, 20], [90, 30], [50, 30]]
    assert record.texts[0] == ("" if report.format in UNTOLD else "TOTAL")
    assert not report.dropped and not report.warnings


def test_every_format_has_an_example():
    assert len(EXAMPLES) == len(FORMATS)
