"""Finds the fields of a text-format file that its message does not know.

The protobuf parser either refuses a file for its first unknown field or skips all of
them without a word. A prototxt needs something between: the parameters of a training
layer that we never build may be unknown, a misspelt `kernal_size` may not. So the
parser reads leniently, and this scan lists what it skipped. It runs only on text that
the parser has accepted, hence it need not judge syntax.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor

_TOKEN = re.compile(
    r"""
    (?P<skip>\s+|\#[^\n]*)
  | (?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
  | (?P<punctuation>[{}<>\[\]:,;])
  | (?P<word>[^\s\#"'{}<>\[\]:,;]+)
    """,
    re.VERBOSE,
)
_CLOSES = {"{": "}", "<": ">"}


@dataclass(frozen=True, slots=True)
class UnknownField:
    """A field that its message does not declare.

    Attributes:
        line: Line in the text, from 1.
        message: Name of the message it stands in, such as `PoolingParameter`.
        name: Name of the field.
        path: Enclosing fields from the top, each with its index among its like,
            such as `(("layer", 3), ("pooling_param", 0))`.
    """

    line: int
    message: str
    name: str
    path: tuple[tuple[str, int], ...]


def find_unknown_fields(text: str, descriptor: Descriptor) -> list[UnknownField]:
    """List the fields in `text` that `descriptor` and the messages within do not declare.

    Args:
        text: Valid protobuf text format.
        descriptor: The message that the text is of.

    Returns:
        The unknown fields in order; nothing that lies inside an unknown field.
    """
    return list(_Scan(text).message(descriptor, closing=None, path=()))


class _Scan:
    """A cursor over the tokens of one text."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._position = 0

    def message(
        self,
        descriptor: Descriptor | None,
        *,
        closing: str | None,
        path: tuple[tuple[str, int], ...],
    ) -> Iterator[UnknownField]:
        """Walk one message body; without a descriptor, just walk over it."""
        seen: dict[str, int] = {}
        while (token := self._next()) is not None and token[0] != closing:
            name, line = token
            if name in {",", ";"}:
                continue
            field = descriptor.fields_by_name.get(name) if descriptor else None
            if descriptor and field is None:
                yield UnknownField(line, descriptor.name, name, path)
            yield from self._values(name, field.message_type if field else None, path, seen)

    def _values(
        self,
        name: str,
        descriptor: Descriptor | None,
        path: tuple[tuple[str, int], ...],
        seen: dict[str, int],
    ) -> Iterator[UnknownField]:
        """Walk what follows a field name: a scalar, a message, or a list of either."""
        if self._peek() == ":":
            self._next()
        in_list = self._peek() == "["
        if in_list:
            self._next()
        while True:
            opening = self._peek()
            if opening in _CLOSES:
                self._next()
                index = seen.get(name, 0)
                seen[name] = index + 1
                inside = (*path, (name, index))
                yield from self.message(descriptor, closing=_CLOSES[opening], path=inside)
            elif not (in_list and opening == "]"):
                self._scalar()
            if not in_list or self._next_is_end_of_list():
                return

    def _scalar(self) -> None:
        """Step over a number, a word, or adjacent strings (which are one value)."""
        first = self._next()
        if first is None:
            return
        while first[0][0] in "\"'" and (self._peek() or " ")[0] in "\"'":
            self._next()

    def _next_is_end_of_list(self) -> bool:
        token = self._next()
        return token is None or token[0] == "]"

    def _peek(self) -> str | None:
        return self._tokens[self._position][0] if self._position < len(self._tokens) else None

    def _next(self) -> tuple[str, int] | None:
        if self._position >= len(self._tokens):
            return None
        self._position += 1
        return self._tokens[self._position - 1]


def _tokens(text: str) -> Iterator[tuple[str, int]]:
    """Yield (token, line) without white space and comments."""
    line = 1
    for match in _TOKEN.finditer(text):
        if match.lastgroup != "skip":
            yield match.group(), line
        line += match.group().count("\n")
