"""The streams of a load: how they are written on a command line, and what each one sends."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tsnd_client.errors import InputError
from tsnd_client.urgency import PRIORITIES, Priority


@dataclass(frozen=True, slots=True)
class StreamKind:
    """Streams that are alike.

    Attributes:
        count: How many.
        rate: Snippets per second of each; None where only a total is given.
        priority: Which snippets the daemon runs first.
        group: Snippets in a message.
        timeout_ms: Longest a snippet may wait in the daemon's queue, milliseconds; None is
            without limit.
        in_flight: Unanswered snippets of each in a closed loop.
    """

    count: int = 1
    rate: float | None = None
    priority: Priority = Priority.NORMAL
    group: int = 1
    timeout_ms: float | None = None
    in_flight: int = 1


@dataclass(frozen=True, slots=True)
class Feed:
    """One stream.

    Attributes:
        index: Its number among all.
        priority: Which snippets the daemon runs first.
        group: Snippets in a message.
        timeout_ms: Longest a snippet may wait in the daemon's queue; None is without limit.
        messages_per_s: Of an open loop; None in a closed one.
        messages_in_flight: Unanswered messages of a closed loop.
    """

    index: int
    priority: Priority
    group: int
    timeout_ms: float | None
    messages_per_s: float | None
    messages_in_flight: int


def parse_kind(text: str, default: StreamKind) -> StreamKind:
    """Read streams from text such as `count=8,rate=5,priority=bulk,group=4,timeout_ms=200`.

    Args:
        text: KEY=VALUE with commas between.
        default: What is not named.

    Raises:
        InputError: The text has another form, an unknown key or a value out of range.
    """
    values: dict[str, Any] = {}
    for part in text.split(","):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or key not in _READERS:
            raise InputError(
                f"--stream {text!r}: expected KEY=VALUE with commas between, got {part!r}. Keys: "
                f"{', '.join(_READERS)}."
            )
        if key in values:
            raise InputError(f"--stream {text!r}: {key} is given twice.")
        try:
            values[key] = _READERS[key](value)
        except (ValueError, KeyError):
            raise InputError(
                f"--stream {text!r}: {key} must be {_EXPECTED[key]}, got {value!r}."
            ) from None
    return replace(default, **values)


def total_rate(kinds: Sequence[StreamKind]) -> float:
    """Return the rates of all streams together, snippets/s.

    Raises:
        InputError: Some have none.
    """
    if any(kind.rate is None for kind in kinds):
        raise InputError("some --stream have no rate: give each rate=, or all a total with --rate.")
    return sum(kind.count * (kind.rate or 0.0) for kind in kinds)


def open_feeds(kinds: Sequence[StreamKind], total_per_s: float) -> list[Feed]:
    """Divide a total rate among streams in proportion to their own; none counts as 1.

    Args:
        kinds: The streams.
        total_per_s: Snippets per second of all together.
    """
    shares = sum(kind.count * _share(kind) for kind in kinds)
    return _feeds(kinds, lambda kind: total_per_s * _share(kind) / shares / kind.group)


def closed_feeds(kinds: Sequence[StreamKind]) -> list[Feed]:
    """Make streams that send when they are answered.

    Raises:
        InputError: One has a rate.
    """
    if any(kind.rate is not None for kind in kinds):
        raise InputError("--in-flight is a closed loop, whose streams have no rate: leave one out.")
    return _feeds(kinds, lambda _: None)


def _feeds(
    kinds: Sequence[StreamKind], messages_per_s: Callable[[StreamKind], float | None]
) -> list[Feed]:
    alike = [kind for kind in kinds for _ in range(kind.count)]
    return [
        Feed(
            index=index,
            priority=kind.priority,
            group=kind.group,
            timeout_ms=kind.timeout_ms,
            messages_per_s=messages_per_s(kind),
            messages_in_flight=max(1, kind.in_flight // kind.group),
        )
        for index, kind in enumerate(alike)
    ]


def _share(kind: StreamKind) -> float:
    return 1.0 if kind.rate is None else kind.rate


def positive(text: str) -> float:
    """Read a number above 0.

    Raises:
        ValueError: It is none.
    """
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError(text)
    return number


def whole(text: str) -> int:
    """Read a whole number of at least 1.

    Raises:
        ValueError: It is none.
    """
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


_READERS: dict[str, Callable[[str], Any]] = {
    "count": whole,
    "rate": positive,
    "priority": PRIORITIES.__getitem__,
    "group": whole,
    "timeout_ms": positive,
    "in_flight": whole,
}
_NUMBER, _COUNT = "a number above 0", "a whole number of at least 1"
_EXPECTED = {
    "count": _COUNT,
    "rate": _NUMBER,
    "priority": " or ".join(PRIORITIES),
    "group": _COUNT,
    "timeout_ms": _NUMBER,
    "in_flight": _COUNT,
}
