"""Texts of the command line, turned into values or refused with what was expected.

Typer sends defaults through here as well, so a value that is one already stays what it is.
"""

from collections.abc import Callable

import typer

from tsnd_client.urgency import PRIORITIES, Priority

_INFINITE = float("inf")


def to_whole(text: object) -> int:
    """Read a whole number of at least 1."""
    return int(_read(int, text, lambda number: number >= 1, "a whole number of at least 1"))


def to_positive(text: object) -> float:
    """Read a number above 0."""
    return _read(float, text, lambda number: 0 < number < _INFINITE, "a number above 0")


def to_not_negative(text: object) -> float:
    """Read a number of at least 0."""
    return _read(float, text, lambda number: 0 <= number < _INFINITE, "a number of at least 0")


def to_priority(text: object) -> Priority:
    """Read the name of a priority."""
    if isinstance(text, Priority):
        return text
    return PRIORITIES[one_of(*PRIORITIES)(text)]


class Positives(tuple[float, ...]):
    """Numbers above 0. A type of its own, since Typer has an idea of its own of tuples."""


def to_positives(text: str) -> Positives:
    """Read numbers above 0 with commas between them."""
    return Positives(map(to_positive, text.split(",")))


class Names(tuple[str, ...]):
    """Names; a type of its own for the same reason."""


def to_names(text: str) -> Names:
    """Read names with commas between them."""
    return Names(part.strip() for part in text.split(",") if part.strip())


class Size(tuple[int, int]):
    """Width and height, pixels; a type of its own for the same reason."""


def to_size(text: object) -> Size:
    """Read a width and a height with an x between them."""
    if isinstance(text, Size):
        return text
    width, _, height = str(text).partition("x")
    if not (width.isdecimal() and height.isdecimal()) or (int(width) == 0) != (int(height) == 0):
        raise typer.BadParameter(f"expected WIDTHxHEIGHT, such as 340x256, got {text!r}")
    return Size((int(width), int(height)))


def one_of(*choices: str) -> Callable[[object], str]:
    """Make what reads one of several words."""

    def to_choice(text: object) -> str:
        if text not in choices:
            raise typer.BadParameter(f"expected {' or '.join(choices)}, got {text!r}")
        return str(text)

    return to_choice


def _read(
    read: Callable[[str], float],
    text: object,
    is_good: Callable[[float], bool],
    expected: str,
) -> float:
    try:
        number = read(str(text))
    except ValueError:
        number = float("nan")
    if not is_good(number):
        raise typer.BadParameter(f"expected {expected}, got {text!r}")
    return number
