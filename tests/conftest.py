"""Settings of all tests, and the table of tested faults.

`pytest -s` prints the table. `@pytest.mark.faults(tried)` puts a test into it, with a second word
`survived` for what is expected; without it the test's name says that.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

# One thread in every process of the tests: runs compared bit by bit must have equally many,
# and pytest's workers share the cores. Set before PyTorch is imported, here or in a child.
os.environ["OMP_NUM_THREADS"] = "1"

# Drawn examples are the same in every run, and no clock judges them.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


def pytest_configure(config):
    config.addinivalue_line("markers", "faults(tried, survived): a line of the table under -s")


def pytest_collection_modifyitems(items):
    for item in items:
        if marker := item.get_closest_marker("faults"):
            name = item.originalname.removeprefix("test_").replace("_", " ")
            tried, survived = (*marker.args, name)[:2]
            item.user_properties.append(("faults", (tried, survived)))


def pytest_terminal_summary(terminalreporter, config):
    if config.getoption("capture") != "no":
        return
    lines: dict[tuple[str, str], str] = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            found = dict(getattr(report, "user_properties", ())).get("faults")
            if found and (report.when == "call" or report.outcome != "passed"):
                line = tuple(found)
                if lines.get(line, "passed") == "passed":  # of several cases the worst counts
                    lines[line] = report.outcome
    if lines:
        terminalreporter.section("faults")
        width = max(len(tried) for tried, _ in lines)
        for (tried, survived), outcome in lines.items():
            how = survived if outcome == "passed" else outcome.upper()
            terminalreporter.write_line(f"{tried:{width}}  {how}")


@pytest.fixture
def lock(monkeypatch) -> Callable[[Path], None]:
    """A function that makes a folder unreadable, for root too."""
    locked: set[Path] = set()
    scandir = os.scandir

    def refuse(path):
        if Path(path) in locked:
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    return locked.add
