"""The table names tests that are there."""

import re
from pathlib import Path

import pytest

from tests.faults.table import ELSEWHERE


@pytest.mark.parametrize("test", [test for _, test in ELSEWHERE])
def test_named_tests_exist(test):
    file, name = test.split("::")
    (found,) = Path(__file__).parents[1].glob(f"*/{file}")
    source = found.read_text(encoding="utf-8")
    assert re.search(rf"^def {name}\(", source, re.MULTILINE)
