"""Shortens a long list of messages of a few kinds for a terminal."""

import re

FIRST = 3  # lines that are shown of each kind
_KINDS = 30  # kinds that are shown

# Values in a message: JSON, quoted names, what was found.
_VALUES = re.compile(r"\{.*|\[.*?\]|\"[^\"]*\"|'[^']*'|\bfound .*")
_WORD = re.compile(r"[^\W\d_]+(?:[-'][^\W\d_]+)*")


def shortened(lines: list[str]) -> list[str]:
    """The first lines of each kind, with the number of further ones, kind by kind.

    Two lines are of the same kind if they have the same words, apart from names, paths and numbers.
    """
    kinds: dict[str, list[str]] = {}
    for line in lines:
        kinds.setdefault(kind_of(line), []).append(line)
    shown = []
    for same in list(kinds.values())[:_KINDS]:
        shown += same[:FIRST]
        if len(same) > FIRST + 1:
            shown.append(f"... and {len(same) - FIRST} more of this kind")
        else:
            shown += same[FIRST:]
    if rest := list(kinds.values())[_KINDS:]:
        shown.append(f"... and {sum(map(len, rest))} more of {len(rest)} other kinds")
    return shown


def kind_of(line: str) -> str:
    """The words of a message without names, paths and numbers.

    A line begins with the paths that it is about, "folder/my file.png: a/b: ...". They are
    left out; names may contain blanks.
    """
    while "/" in line.partition(": ")[0] and ": " in line:
        line = line.partition(": ")[2]
    words = (word.strip("(),.:;") for word in _VALUES.sub(" ", line).split())
    return " ".join(word for word in words if _WORD.fullmatch(word))
