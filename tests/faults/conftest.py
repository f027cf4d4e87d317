"""What the tests of this folder share, and the table of what was survived."""

import signal
from pathlib import Path

import pytest
from tensorboard.summary.writer import event_file_writer

from tests.drawing import write_dataset
from tests.faults.runs import PAGES
from tests.faults.table import ELSEWHERE


@pytest.fixture(scope="session")
def pages(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("pages"), train=PAGES, val=2)


@pytest.fixture(autouse=True)
def ctrl_c_is_heard():
    """Also where a shell runs pytest in the background, which ignores it."""
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, earlier)


@pytest.fixture(autouse=True)
def event_files_sort(monkeypatch):
    """Those of one second and process are told apart by a number, and 10 sorts before 9."""
    counter = type(event_file_writer._global_uid)
    monkeypatch.setattr(event_file_writer, "_global_uid", counter(10**6))


def pytest_configure(config):
    config.addinivalue_line("markers", "faults(tried, survived): a line of the table under -s")


SURVIVED = pytest.StashKey[dict[tuple[str, str], str]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    marker = item.get_closest_marker("faults")
    if marker and (call.when == "call" or report.outcome != "passed"):
        lines = item.config.stash.setdefault(SURVIVED, {})
        if lines.get(marker.args, "passed") == "passed":  # of several cases the worst is told
            lines[marker.args] = report.outcome
    return report


def pytest_terminal_summary(terminalreporter, config):
    lines = config.stash.get(SURVIVED, {})
    if config.getoption("capture") != "no" or not lines:
        return
    terminalreporter.section("faults")
    width = max(len(tried) for tried, _ in (*lines, *ELSEWHERE))
    for (tried, survived), outcome in lines.items():
        how = survived if outcome == "passed" else outcome.upper()
        terminalreporter.write_line(f"{tried:{width}}  {how}")
    terminalreporter.section("faults tried elsewhere in tests/")
    for tried, test in ELSEWHERE:
        terminalreporter.write_line(f"{tried:{width}}  {test}")
