"""The tables of docs/data-checks.md: what each kind of input gives. `python -m` writes them."""

import json
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import ExifTags, Image

from dbnet.data.annotations.report import summary_table, unlearnable
from dbnet.data.annotations.scan import scan
from tests.data.test_marks_and_damage import (
    LINE,
    MARKED,
    QUAD,
    REGIONS,
    REPAIRED,
    coco,
    icdar,
    labelme,
    ufo,
)

PAGE = Path(__file__).parents[2] / "docs/data-checks.md"
HEADING = "## What each input gives"
INTRODUCTION = (
    "Each input is one image with one text unless it says otherwise. The lines are those of the\n"
    "check; `python -m tests.data.test_docs_checks` makes these tables.\n"
)

Case = Callable[[Path], Path | None]  # makes the input below a folder; its root where that differs


def given(annotations, *more, image="a.png", **options) -> Case:
    """One image of 100 x 100 pixels with annotations, each a place and its content."""

    def make(root: Path) -> None:
        path = root / "images/train" / image
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (100, 100)).save(path, **options)
        for place, content in (annotations, *more):
            text = content if isinstance(content, str) else json.dumps(content)
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            (root / place).write_text(text, "utf-8")

    return make


def named(name: str, *, image: str = "a.png", beside: str = "") -> Case:
    def make(root: Path) -> None:
        words = {"1": {"points": QUAD}}
        given(("jsons/train.json", {"images": {name: {"words": words}}}), image=image)(root)
        if beside:
            (root / "images/train" / beside).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (100, 100)).save(root / "images/train" / beside)

    return make


def turned(place: str, content) -> Case:
    """An image of 100 x 60 stored pixels with an EXIF orientation that turns it."""

    def make(root: Path) -> None:
        given((place, content))(root)
        (root / "images/train/a.png").unlink()
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6
        Image.new("RGB", (100, 60)).save(root / "images/train/a.jpg", exif=exif)

    return make


def linked(root: Path) -> None:
    given(icdar(f"{LINE},TOTAL"))(root)
    for half in ("images", "gts"):
        (root / "store" / half).mkdir(parents=True)
        (root / half / "train/more").symlink_to(root / "store" / half)


def within(below: str) -> Case:
    def make(root: Path) -> Path:
        given(ufo())(root / "receipts")
        return root / below

    return make


def two_pages(root: Path) -> None:
    given(ufo())(root)
    (root / "images/train/a.png").unlink()
    page = Image.new("RGB", (100, 100))
    page.save(root / "images/train/a.tif", save_all=True, append_images=[page])
    text = json.dumps(ufo()[1]).replace("a.png", "a.tif")
    (root / "jsons/train.json").write_text(text)


def empty(root: Path) -> Path:
    (root / "empty").mkdir()
    return root / "empty"


SMALL = [[10, 10], [70, 10], [70, 10.4], [10, 10.4]]
ALL_OF_IT = [[1, 1], [99, 1], [99, 99], [1, 99]]
FRACTIONS = [[0.1, 0.1], [0.7, 0.1], [0.7, 0.26], [0.1, 0.26]]
LOW = [[10, 70], [50, 70], [50, 90], [10, 90]]
TOTAL = icdar(f"{LINE},TOTAL")
FOREIGN = {
    "MMOCR": ("annotations/train.json", {"metainfo": {}, "data_list": [{"img_path": "a.png"}]}),
    "LSVT": ("jsons/train.json", {"gt_1": [{"transcription": "x", "points": QUAD}]}),
    "Total-Text": ("gts/train/poly_gt_a.txt", "x: [[10 70 70 10]], y: [[10 10 26 26]]"),
    "DOTA": ("labels/train/a.txt", "10.0 10.0 70.0 10.0 70.0 26.0 10.0 26.0 text 0"),
    "VIA CSV": ("gts/train/via.csv", "filename,file_size,file_attributes,region_count\n"),
    "FUNSD": ("jsons/train/a.json", {"form": [{"box": [1, 1, 9, 9], "text": "x", "words": []}]}),
}
JSON = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": []}

GROUPS: dict[str, dict[str, Case]] = {
    "Marks": {name: given(annotations) for name, (annotations, _) in MARKED.items()},
    "Outlines": {
        name: given(annotations) for name, (annotations, _) in {**REPAIRED, **REGIONS}.items()
    },
    "ICDAR lines": {
        "five points": given(icdar("10,10,60,5,90,12,90,30,10,30,CURVE")),
        "three points among nine quads": given(
            icdar(*[f"{LINE},word"] * 9, "10,70,90,70,60,90,word")
        ),
        "two corners": given(icdar("10,10,70,26,TOTAL")),
        "two corners, prices": given(icdar("10,10,70,26,TOTAL", "10,30,70,46,12,50")),
        "MLT": given(icdar(f"{LINE},Latin,SALE")),
        "four numbers among quads": given(icdar(*[f"{LINE},word"] * 9, "10,70,90,90,word")),
    },
    "Names of images": {
        "`images/train/a.png`": named("images/train/a.png"),
        "`../train/a.png`": named("../train/a.png"),
        "`sub\\a.png`": named("sub\\a.png", image="sub/a.png"),
        "`/home/u/data/a.png`": named("/home/u/data/a.png"),
        "`https://x.org/a%20b.png?t=1`": named("https://x.org/a%20b.png?t=1", image="a b.png"),
        "`a.png` for `A.PNG`": named("a.png", image="A.PNG"),
        "`a` for `a.png`": named("a"),
        "NFC for NFD": named("\u00e9.png", image=unicodedata.normalize("NFD", "\u00e9.png")),
        "`a.jpg` for `a.png`": named("a.jpg"),
        "`a.png` for `x/a.png` or `y/a.png`": named("a.png", image="x/a.png", beside="y/a.png"),
        "`../a.png`, which is another file": named("../a.png", beside="../a.png"),
    },
    "Files beside annotations": {
        "`classes.txt`": given(TOTAL, ("gts/train/classes.txt", "text\n")),
        "`README.txt`": given(TOTAL, ("gts/train/README.txt", "Annotated in May.\n")),
        "`res_a.txt` alone": given(("gts/train/res_a.txt", f"{LINE},TOTAL")),
        "`gt_a.TXT`": given(("gts/train/gt_a.TXT", f"{LINE},TOTAL")),
        "`a.png.txt`": given(("gts/train/a.png.txt", f"{LINE},TOTAL")),
        "LabelMe `classes.json`": given(labelme(), ("jsons/train/classes.json", ["text"])),
        "an annotation without an image": given(TOTAL, ("gts/train/gt_b.txt", f"{LINE},x")),
    },
    "Coordinates": {
        "UFO, 0..1": given(ufo(points=FRACTIONS)),
        "ICDAR, 0..1": given(icdar("0.1,0.1,0.7,0.1,0.7,0.26,0.1,0.26,TOTAL")),
        "YOLO, pixels": given(("labels/train/a.txt", "0 40 18 60 16")),
        "a text of 0.4 pixels": given(ufo(points=SMALL)),
        "one box around the receipt": given(ufo(points=ALL_OF_IT)),
        "COCO, sizes swapped by EXIF": turned(
            "annotations/train.json",
            {
                "images": [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 60}],
                "annotations": [{"image_id": 1, "bbox": [70, 10, 20, 10]}],
            },
        ),
        "docTR, a copy of half the size": given(
            (
                "labels/train.json",
                {"a.png": {"img_dimensions": [200, 200], "polygons": [QUAD]}},
            )
        ),
        "ICDAR, outside by EXIF": turned("gts/train/a.txt", "70,10,90,10,90,20,70,20,TOTAL"),
    },
    "Folders and files": {
        "linked sub-folders": linked,
        "a TIFF of two pages": two_pages,
        "a root that is not there": within("receipt"),
        "a root that is empty": empty,
        "a root one level too deep": within("receipts/images"),
        "a root one level too high": within("."),
        "a root that is a file": within("receipts/jsons/train.json"),
        **{f"{title}'s own format": given(content) for title, content in FOREIGN.items()},
        "COCO as CVAT names it": given(("annotations/instances_default.json", coco()[1])),
        "no annotations": given(("notes.md", "")),
    },
}


def line_of(case: Case, folder: Path) -> str:
    """The output of the check in one line: counts, then the first problem or warning."""
    root = case(folder) or folder
    _, report = scan(root, "train", format="auto")
    table = summary_table({"train": report}, image_size=640).splitlines()
    kinds = ("marked ", "damaged, ", "repaired: ", "dropped: ")
    counted = [" ".join(row.split()) for row in table if row.startswith(kinds)]
    unfit = unlearnable("train", report, image_size=640) if report.texts else None
    told = [f"problem: {line}" for line in report.problems]
    told += [f"problem: {unfit[0]}"] if unfit and unfit[1] else []
    told += [f"warning: {line}" for line in report.warnings]
    told += [f"warning: {unfit[0]}"] if unfit and not unfit[1] else []
    told += [f"note: {line}" for line in report.notes if not counted]
    parts = [", ".join(counted), *told[:1]]
    line = "; ".join(filter(None, parts)) or f"texts {report.texts}"
    line = line.replace(f"{folder}/", "").replace(str(folder), ".")
    return unicodedata.normalize("NFC", line).replace("|", "\\|")


def tables(folder: Path) -> str:
    parts = [HEADING, "", INTRODUCTION]
    for number, (title, cases) in enumerate(GROUPS.items()):
        rows = []
        for index, (name, case) in enumerate(cases.items()):
            root = folder / f"{number}-{index}"
            root.mkdir()
            rows.append(f"| {name} | {line_of(case, root)} |")
        parts += [f"### {title}", "", "| input | line |", "| --- | --- |", *rows, ""]
    return "\n".join(parts)


def written() -> str:
    return PAGE.read_text("utf-8").partition(HEADING)[0]


def test_the_tables_of_the_page_are_what_the_check_says(tmp_path):
    page = PAGE.read_text("utf-8")
    assert page == written() + tables(tmp_path)


if __name__ == "__main__":
    with TemporaryDirectory() as name:
        PAGE.write_text(written() + tables(Path(os.path.realpath(name))), "utf-8")
