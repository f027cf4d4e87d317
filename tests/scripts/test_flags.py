"""Flags in messages and documents exist in a program."""

import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_type_hints

import pytest

from configs import Config, EvaluateConfig, PredictConfig, ProfileConfig

ROOT = Path(__file__).parents[2]
NAMED = re.compile(
    r"--((?:data|augment|targets|model|loss|optim|train|postprocess|metric)\.[a-z0-9.-]*[a-z0-9])"
    r"(?![a-z0-9-])"  # not the beginning of a name that is put together
)
FILES = [
    path.relative_to(ROOT).as_posix()
    for pattern in ("dbnet/**/*.py", "*.py", "*.md", "docs/*.md", "weights/*.md", "recipes/*.sh")
    for path in sorted(ROOT.glob(pattern))
]


def flags_of(cls: type, prefix: str = "") -> set[str]:
    """All flags of a program and their sections, without the dashes in front."""
    found: set[str] = set()
    hints = get_type_hints(cls)
    for field in fields(cls):
        name = field.name.replace("_", "-")
        found |= {f"{prefix}{name}", f"{prefix}no-{name}"}
        if is_dataclass(hints[field.name]):
            found |= flags_of(hints[field.name], f"{prefix}{name}.")
    return found


FLAGS = set().union(*map(flags_of, (Config, EvaluateConfig, ProfileConfig, PredictConfig)))


@pytest.mark.parametrize("file", FILES)
def test_flags_that_a_file_names_exist(file):
    named = set(NAMED.findall((ROOT / file).read_text(encoding="utf-8")))
    assert named <= FLAGS, sorted(named - FLAGS)
