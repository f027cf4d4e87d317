"""Fixtures of the tests of this folder."""

import signal
from pathlib import Path

import pytest
from tensorboard.summary.writer import event_file_writer

import train
from tests.drawing import write_dataset
from tests.faults.runs import PAGES, small


@pytest.fixture(scope="session")
def pages(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("pages"), train=PAGES, val=2)


@pytest.fixture(scope="session")
def whole(pages, tmp_path_factory) -> Path:
    """The folder of an uninterrupted `small` run. Tests compare with it and must not change it."""
    return train.main(small(pages, tmp_path_factory.mktemp("whole")))


@pytest.fixture(autouse=True)
def ctrl_c_is_heard():
    """SIGINT works even if a shell runs pytest in the background and ignores it."""
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, earlier)


@pytest.fixture(autouse=True)
def event_files_sort(monkeypatch):
    """Event files sort by time. Their names end in a counter, and 10 would sort before 9."""
    counter = type(event_file_writer._global_uid)
    monkeypatch.setattr(event_file_writer, "_global_uid", counter(10**6))
