"""Names of timm's models, looked up in its files: importing timm takes seconds."""

import difflib
import re
from collections.abc import Collection
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from dbnet.errors import InputError

_NAMED = re.compile(r"(?:def |[\"'])(\w+)")
_REGISTERED = re.compile(r"@register_model\s+def (\w+)")


def refuse_unknown(encoder: str) -> None:
    """Refuse an encoder that no file of timm's models names. Does not import timm.

    timm may still refuse a name that passes. Names with another source, such as hf-hub:, pass.

    Raises:
        InputError: timm has no such model; suggests similar ones.
    """
    text = _source_of_models()
    name = encoder.partition(".")[0]  # without the tag of its weights
    if text and ":" not in encoder and name not in _named(text):
        raise unknown(encoder, _REGISTERED.findall(text))


@cache
def _source_of_models() -> str:
    """The files that define timm's models, joined; empty where timm is not found."""
    spec = find_spec("timm")
    folders = spec.submodule_search_locations if spec else None
    files = [path for each in folders or () for path in Path(each, "models").rglob("*.py")]
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


@cache
def _named(text: str) -> set[str]:
    """Functions and quoted words: the models, their deprecated names, and others."""
    return set(_NAMED.findall(text))


def unknown(encoder: str, known: Collection[str]) -> InputError:
    """The error for a name that timm does not have, with the most similar ones of `known`."""
    near = difflib.get_close_matches(encoder.lower(), known, n=3)
    meant = f"; did you mean {', '.join(near)}?" if near else ""
    return InputError(f"--model.encoder {encoder}: timm has no such model{meant}")
