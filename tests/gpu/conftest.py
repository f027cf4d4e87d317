"""Tests that need a GPU: `python -m pytest tests/gpu`. Without one, each is skipped.

DBNET_TEST_DEVICE=cpu runs some of them on the CPU, to check the tests themselves.
"""

import os
from pathlib import Path

import pytest
import torch

from tests.drawing import write_dataset
from tests.faults.runs import PAGES

HERE = Path(__file__).parent
NAME = os.environ.get("DBNET_TEST_DEVICE", "cuda")
# PyTorch looks once in a process, at the first use of cuBLAS; deterministic tests may come later.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def pytest_configure(config):
    config.addinivalue_line("markers", "gpu: needs a GPU")


def pytest_collection_modifyitems(items):
    missing = NAME == "cuda" and not torch.cuda.is_available()
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            if missing:
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def pytest_terminal_summary(terminalreporter):
    reports = terminalreporter.stats.get("skipped", [])
    count = sum("no CUDA device" in str(report.longrepr) for report in reports)
    if count:
        terminalreporter.write_line(f"tests/gpu: {count} tests skipped, no CUDA device")


@pytest.fixture
def device() -> torch.device:
    return torch.device(NAME)


@pytest.fixture
def cuda() -> torch.device:
    if NAME != "cuda":
        pytest.skip("needs CUDA itself")
    return torch.device("cuda")


@pytest.fixture(scope="session")
def pages(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("gpu") / "pages", train=PAGES, val=5)
