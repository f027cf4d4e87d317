"""XML files as plain elements, one at a time, with clear errors.

Entity declarations are refused: they can fill the memory or read other files, and no annotation
tool writes them.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from xml.parsers import expat

from dbnet.data.annotations.files import LINKS_HINT, inside
from dbnet.errors import InputError

_BLOCK = 1 << 16  # bytes read at once


@dataclass(slots=True, eq=False)
class Element:
    """An XML element."""

    tag: str
    attributes: dict[str, str]
    line: int  # counted from 1
    children: list["Element"] = field(default_factory=list)
    text: str = ""  # before, between and behind the children; of the root element: none

    def all(self, tag: str) -> list["Element"]:
        """The children with this tag."""
        return [child for child in self.children if child.tag == tag]

    def text_of(self, tag: str) -> str | None:
        """The stripped text of the first child with this tag; None where there is none."""
        return next((child.text.strip() for child in self.children if child.tag == tag), None)


def xml_members(bounds: tuple[Path, ...], path: Path, root: str) -> Iterator[Element]:
    """The children of the root element, each whole. Only one of them is in memory.

    Raises:
        InputError: no valid XML, an entity declaration, or a root element with another tag.
    """
    if not inside(path, bounds):
        raise InputError(f"{path}: leads out of {bounds[0]}; {LINKS_HINT}")
    try:
        with path.open("rb") as file:
            builder = _Builder(path)
            for _ in builder.feed(file):
                if builder.root and builder.root.tag != root:
                    raise InputError(
                        f"{path}: the root element is <{builder.root.tag}>, must be <{root}>"
                    )
                yield from builder.take()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def xml_head(path: Path, block: bytes) -> Element | None:
    """The root element and what of its children the first bytes of a file hold; None if no XML."""
    builder = _Builder(path)
    with suppress(InputError):
        builder.parse(block, is_last=False)
    return builder.root


class _Builder:
    """Elements from expat's events."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root: Element | None = None
        self._open: list[Element] = []
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.EntityDeclHandler = self._refuse_entity

    def feed(self, file: BinaryIO) -> Iterator[None]:
        """Parse block by block; after each, `take` has what became complete."""
        while block := file.read(_BLOCK):
            self.parse(block, is_last=False)
            yield
        self.parse(b"", is_last=True)
        yield

    def parse(self, block: bytes, *, is_last: bool) -> None:
        try:
            self._parser.Parse(block, is_last)
        except expat.ExpatError as error:
            place = f"line {error.lineno}, column {error.offset + 1}"
            reason = expat.errors.messages[error.code]
            raise InputError(f"{self.path}: no valid XML at {place}: {reason}") from None

    def take(self) -> list[Element]:
        """The complete children of the root, which lets go of them."""
        if self.root is None:
            return []
        unfinished = self._open[1:2]
        complete = [child for child in self.root.children if child not in unfinished]
        self.root.children = unfinished
        return complete

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        element = Element(tag, attributes, self._parser.CurrentLineNumber)
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)

    def _end(self, tag: str) -> None:
        self._open.pop()

    def _characters(self, text: str) -> None:
        if len(self._open) > 1:
            self._open[-1].text += text

    def _refuse_entity(self, name: str, *_: object) -> None:
        line = self._parser.CurrentLineNumber
        raise InputError(f"{self.path}: line {line}: declares the entity {name!r}; remove it")
