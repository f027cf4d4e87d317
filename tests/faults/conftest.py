"""What the tests of this folder share."""

from pathlib import Path

import pytest

from tests.drawing import write_dataset
from tests.faults.runs import PAGES


@pytest.fixture(scope="session")
def pages(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("pages"), train=PAGES, val=2)
