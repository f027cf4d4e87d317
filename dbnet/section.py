"""The base of all sections of settings: ranges of numbers, conversion to JSON and back.

Standard library only, so that `--help` answers before slow imports.
"""

import dataclasses
import math
import typing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from dbnet.errors import InputError

S = TypeVar("S", bound="Dataclass")


class Dataclass(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


def require(condition: bool, message: str) -> None:
    """Raise InputError with the message unless the condition holds."""
    if not condition:
        raise InputError(message)


@dataclass(frozen=True)
class Range:
    """The numbers that a field may have, declared with it: `Annotated[float, Range(ge=0, lt=1)]`.

    A tuple is in the range if each of its numbers is. NaN and infinities are in no range. None is
    in every range.
    """

    ge: float | None = None  # at least
    gt: float | None = None  # above
    le: float | None = None  # at most
    lt: float | None = None  # below
    multiple_of: int | None = None

    def __contains__(self, value: object) -> bool:
        if isinstance(value, tuple):
            return all(each in self for each in value)
        if value is None:
            return True
        return (
            isinstance(value, (int, float))
            and math.isfinite(value)
            and (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
            and (self.lt is None or value < self.lt)
            and (self.multiple_of is None or value % self.multiple_of == 0)
        )

    def __str__(self) -> str:
        """The rest of a message that begins with "must"."""
        if self.multiple_of is not None:
            return f"be a multiple of {self.multiple_of}, at least {self.ge}"
        if self.gt is not None:
            return (
                f"be above {self.gt}" if self.lt is None else f"lie between {self.gt} and {self.lt}"
            )
        if self.lt is not None:
            return f"lie in {self.ge}..{self.lt}, below {self.lt}"
        return f"be at least {self.ge}" if self.le is None else f"lie in {self.ge}..{self.le}"


class Section:
    """Base of the frozen dataclasses of settings; checks the ranges declared with the fields.

    The fields of `class DataConfig(Section, prefix="data")` are the flags --data.NAME. A section
    checks relations between its fields in its own `__post_init__`, after calling this one.

    Raises:
        InputError: a number is out of its range; names the flag.
    """

    prefix: ClassVar[str] = ""

    def __init_subclass__(cls, prefix: str | None = None) -> None:
        if prefix is not None:
            cls.prefix = prefix

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, allowed in _ranges(type(self)).items():  # type: ignore[arg-type]
            value = getattr(self, name)
            if value not in allowed:
                shown = " ".join(map(str, value)) if isinstance(value, tuple) else value
                raise InputError(f"{self.flag(name)} {shown}: must {allowed}")

    @classmethod
    def flag(cls, name: str) -> str:
        """ "train_size" to "--data.train-size"."""
        return "--" + ".".join(filter(None, (cls.prefix, name.replace("_", "-"))))


@cache
def _ranges(cls: type) -> dict[str, Range]:
    found = {}
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        for option in (hint, *typing.get_args(hint)):  # also of `Annotated[...] | None`
            for each in getattr(option, "__metadata__", ()):
                if isinstance(each, Range):
                    found[name] = each
    return found


def to_dict(cfg: Dataclass) -> dict[str, Any]:
    """Nested dict of plain JSON values: paths become strings, tuples lists."""

    def as_json(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: as_json(item) for key, item in value.items()}
        if isinstance(value, (tuple, list)):
            return [as_json(item) for item in value]
        return str(value) if isinstance(value, Path) else value

    return as_json(dataclasses.asdict(cfg))


def from_dict(cls: type[S], values: dict[str, Any]) -> S:
    """Inverse of `to_dict`. Fields that are missing take their default.

    Raises:
        InputError: a value is out of its range, or a name is not one of the section's.
    """
    hints = typing.get_type_hints(cls)
    names = {field.name for field in dataclasses.fields(cls)}
    unknown = sorted(set(values) - names)
    require(not unknown, f"unknown settings in {cls.__name__}: {', '.join(unknown)}")

    def typed(hint: Any, value: Any) -> Any:
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            return from_dict(hint, value)
        if value is not None and Path in (hint, *typing.get_args(hint)):
            return Path(value)
        return tuple(value) if typing.get_origin(hint) is tuple else value

    return cls(**{name: typed(hints[name], value) for name, value in values.items()})


def from_stored(cls: type[S], values: Any, path: Path) -> S:
    """`from_dict` for values that were read from `path`, which error messages name.

    Raises:
        InputError: the settings in that file do not fit this version.
    """
    try:
        return from_dict(cls, values)
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: its settings do not fit this version ({error})") from None


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"train": {"epochs": 3}} to {"train.epochs": 3}."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            result |= flat(value, f"{prefix}{name}.")
        else:
            result[f"{prefix}{name}"] = value
    return result
