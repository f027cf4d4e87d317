"""How results are named: what both metrics return."""

from collections.abc import Sequence
from typing import Any

import numpy as np

RATES = ("precision", "recall", "hmean")


def named(rates: Sequence[float] | np.ndarray, suffix: str = "") -> dict[str, float]:
    """Three rates by name."""
    return {name + suffix: float(rate) for name, rate in zip(RATES, rates, strict=True)}


def counted(counts: Any) -> dict[str, int]:
    """A NamedTuple of counts, by name. Its values are floats, to add up in one array."""
    return {name: int(count) for name, count in counts._asdict().items()}
