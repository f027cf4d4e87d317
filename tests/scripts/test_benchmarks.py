"""Benchmarks refuse counts that they cannot measure, before they measure."""

import importlib
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
COUNTS = [
    (path.stem, flag)
    for path in sorted(FOLDER.glob("*.py"))
    for flag in re.findall(r'"(--[a-z-]+)", type=positive', path.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize(("name", "flag"), COUNTS)
@pytest.mark.parametrize("given", ["0", "-1", "2.5", "many"])
def test_a_count_below_one_is_refused_in_one_line(name, flag, given, monkeypatch, capsys):
    benchmark = importlib.import_module(f"benchmarks.{name}")
    monkeypatch.setattr("sys.argv", [name, flag, given])
    with pytest.raises(SystemExit):
        benchmark.main()
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.endswith(f"argument {flag}: {given}: must be a whole number of at least 1")


def test_only_numbers_that_may_be_zero_have_another_type():
    lines = [
        line
        for path in sorted(FOLDER.glob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if "type=int" in line
    ]
    flags = {flag for line in lines for flag in re.findall(r'"(--[a-z-]+)"', line)}
    assert flags == {"--photos", "--workers", "--scoring-workers", "--loader-workers"}
