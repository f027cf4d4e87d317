"""Imports follow docs/architecture.md; functions and tests the limits of CONTRIBUTING.md."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
# The data sets include drawn ones; the drawing reads images and annotations.
MUTUAL = {("data", "synthetic"), ("synthetic", "data")}


def rooms() -> dict[str, int]:
    """Row of every room: "data" -> 2; modules of dbnet/ without their suffix."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    names = [re.findall(r"`(\w+)(?:/|\.py)`", row) for row in rows]
    return {name: row for row, found in enumerate(names) for name in found}


def imports() -> set[tuple[str, str, str]]:
    """(file, its room, imported room), for all imports between rooms of dbnet/."""
    found = set()
    for path in (ROOT / "dbnet").rglob("*.py"):
        inside = path.relative_to(ROOT / "dbnet")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dbnet."):
                found.add(
                    (str(inside), inside.parts[0].removesuffix(".py"), node.module.split(".")[1])
                )
    return {(path, room, other) for path, room, other in found if room != other}


def test_no_room_imports_one_of_a_lower_row():
    rows = rooms()
    assert rows["data"] < rows["metrics"] < rows["reporting"] < rows["training"]
    upward = [
        f"{path} imports {other}"
        for path, room, other in sorted(imports())
        if room in rows and rows.get(other, -1) > rows[room] and (room, other) not in MUTUAL
    ]
    assert upward == []


def test_rooms_without_annotations_do_not_import_training():
    lower = ("reporting", "inference", "detector")
    assert [path for path, room, other in imports() if room in lower and other == "training"] == []


def functions(*folders: str) -> list[tuple[str, ast.FunctionDef]]:
    """(file, function) of all Python files in folders of the project."""
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [
        (path.name, node)
        for path in [*paths, *ROOT.glob("*.py")]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    ]


def test_no_function_is_longer_than_60_lines():
    long = [
        f"{name}: {node.name}"
        for name, node in functions("dbnet", "benchmarks", "recipes")
        if (node.end_lineno or 0) - node.lineno >= 60
    ]
    assert long == []


def test_names_of_tests_have_at_most_60_characters():
    names = [node.name.removeprefix("test_") for _, node in functions("tests")]
    assert [name for name in names if len(name) > 60] == []
