"""Reads the text and JSON files that others wrote: bounded in size, with errors that name them."""

import json
import math
from pathlib import Path
from typing import Any

from tsnd_client.errors import EvaluationError

# Five million detections; reading one takes about twenty times its size in memory.
MAX_BYTES = 512 << 20


def read_text(path: Path) -> str:
    """Read a text file.

    Raises:
        EvaluationError: It is missing, no ordinary file, larger than MAX_BYTES or not UTF-8.
    """
    try:
        if not path.is_file():
            raise EvaluationError(f"cannot read {path}: expected a file, and there is none.")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise EvaluationError(
                f"cannot read {path}: it has {size / 2**20:.0f} MiB, and {MAX_BYTES >> 20} MiB is "
                "the most. Split it by videos or keep fewer detections of each."
            )
        return path.read_text(encoding="utf-8-sig")
    except OSError as err:
        raise EvaluationError(f"cannot read {path}: {err.strerror}.") from err
    except UnicodeDecodeError as err:
        raise EvaluationError(f"cannot read {path}: it is not UTF-8 text ({err.reason}).") from err


def read_json(path: Path) -> Any:  # noqa: ANN401 - JSON can be anything
    """Read a JSON file.

    Raises:
        EvaluationError: As `read_text`, or it is not JSON, or nested beyond reason.
    """
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as err:
        raise EvaluationError(f"cannot read {path}: it is not valid JSON ({err}).") from err


def number(value: object, what: str) -> float:
    """Take a finite number.

    Args:
        value: What came: a JSON value, or a word of a line.
        what: What it is meant to be, for the message.

    Raises:
        EvaluationError: It is none.
    """
    try:
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            result = float(value)
            if math.isfinite(result):
                return result
    except (ValueError, OverflowError):
        pass
    raise EvaluationError(f"{what}: expected a finite number, got {shown(value)}.")


def whole_number(value: str, what: str) -> int:
    """Take a count, 0 or more.

    Raises:
        EvaluationError: It is none.
    """
    if value.isascii() and value.isdecimal() and len(value) < 10:
        return int(value)
    raise EvaluationError(f"{what}: expected a whole number, got {shown(value)}.")


def mapping(value: object, what: str) -> dict[str, Any]:
    """Take a JSON object.

    Raises:
        EvaluationError: It is none.
    """
    if isinstance(value, dict):
        return value
    raise EvaluationError(f"{what}: expected an object {{...}}, got {shown(value)}.")


def sequence(value: object, what: str) -> list[Any]:
    """Take a JSON array.

    Raises:
        EvaluationError: It is none.
    """
    if isinstance(value, list):
        return value
    raise EvaluationError(f"{what}: expected an array [...], got {shown(value)}.")


def text(value: object, what: str) -> str:
    """Take a JSON string that is not empty.

    Raises:
        EvaluationError: It is none.
    """
    if isinstance(value, str) and value:
        return value
    raise EvaluationError(f"{what}: expected a name, got {shown(value)}.")


def span(value: object, what: str) -> tuple[float, float]:
    """Take a JSON array of a start and an end.

    Raises:
        EvaluationError: It is none; which of the two comes first is not checked.
    """
    ends = sequence(value, what)
    if len(ends) != 2:
        raise EvaluationError(f"{what}: expected [start, end], got {shown(value)}.")
    return number(ends[0], what), number(ends[1], what)


def shown(value: object) -> str:
    """Show what came, in one line of bounded length."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
