"""Which frames of a video are scored: every rule as a pure function, exact in its integers.

A tick is the place of a snippet's first frame or flow field. It counts from 1, as the files of
dense_flow do: image j is the video's frame j of 0, 1, 2, ..., and flow field j leads to it from
the frame before. A video of F frames has F - 1 of each. `demo_2016_ticks` alone counts from 0.
"""

import math
from collections.abc import Iterable, Iterator

RGB_DEPTH = 1
"""Frames per rgb snippet."""

TSN_SNIPPETS = 25
"""Snippets per video in TSN's test protocol."""

SSN_INTERVAL = 6
"""Frames from one snippet to the next in SSN's detector."""

TAG_INTERVAL = 5
"""Frames from one snippet to the next in TAG's actionness."""

BSN_INTERVALS = {"activitynet": 16, "thumos14": 5}
"""Frames from one snippet to the next in the features that BSN and BMN were trained on."""


def tsn_ticks(frames: int, depth: int = RGB_DEPTH, snippets: int = TSN_SNIPPETS) -> list[int]:
    """Spread snippets over a video as TSN's Caffe test code does (tools/eval_net.py).

    The step is a floored integer, so ticks reach the end only up to the rounding. A video too
    short for a step of 1 is judged from its first frame alone, `snippets` times.

    Args:
        frames: Images of the video, or flow fields; at least 1.
        depth: Frames or fields per snippet.
        snippets: How many, at least 2: the rule divides by `snippets` - 1.

    Returns:
        `snippets` ticks from 1, in order.

    Raises:
        ValueError: A number is out of range.
    """
    _require("frames", frames, 1)
    _require("depth", depth, 1)
    _require("snippets", snippets, 2)
    step = (frames - depth) // (snippets - 1)
    if step <= 0:
        return [1] * snippets
    return [1 + step * index for index in range(snippets)]


def tsn_pytorch_ticks(
    frames: int, depth: int = RGB_DEPTH, snippets: int = TSN_SNIPPETS
) -> list[int]:
    """Spread snippets over a video as tsn-pytorch does: the middles of equal segments.

    Args:
        frames: Images of the video, or flow fields; at least 1.
        depth: Frames or fields per snippet: 1 for rgb, 5 for flow, 6 for rgb differences.
        snippets: How many, at least 1.

    Returns:
        `snippets` ticks in order. A video of fewer than `depth` - 1 frames has ticks below
        1, as it has there, where no file has that number.

    Raises:
        ValueError: A number is out of range.
    """
    _require("frames", frames, 1)
    _require("depth", depth, 1)
    _require("snippets", snippets, 1)
    segment = (frames - depth + 1) / float(snippets)
    return [int(segment / 2.0 + segment * index) + 1 for index in range(snippets)]


def dense_ticks(frames: int, interval: int, depth: int = RGB_DEPTH, start: int = 1) -> list[int]:
    """Take a snippet every so many frames, as detectors do (SSN's ssn_test.py).

    SSN counts images for both modalities, so that rgb and flow differ by one tick at most.

    Args:
        frames: Images of the video; 0 or more.
        interval: Frames from one snippet to the next: 6 for SSN, 5 for TAG, 16 or 5 for BSN.
        depth: Frames or fields per snippet.
        start: The first tick.

    Returns:
        Ticks in order; none where `frames` is at most `depth`.

    Raises:
        ValueError: A number is out of range.
    """
    _require("frames", frames, 0)
    _require("interval", interval, 1)
    _require("depth", depth, 1)
    _require("start", start, 1)
    return list(range(start, frames - depth + 1, interval))


def demo_2016_ticks(frames: int, length: int = 1, interval: int = 30) -> list[int]:
    """Take a snippet every so many frames, as the demo of the ActivityNet 2016 entry does.

    Args:
        frames: All decoded frames of the video; 0 or more.
        length: Frames per snippet: 1 for rgb, 6 where 5 flow fields are computed from them.
        interval: Frames from one snippet to the next.

    Returns:
        First frames, which here count from 0; every snippet is whole.

    Raises:
        ValueError: A number is out of range.
    """
    _require("frames", frames, 0)
    _require("length", length, 1)
    _require("interval", interval, 1)
    return list(range(0, frames - length + 1, interval))


def at_rate(times_s: Iterable[float], per_s: float) -> Iterator[bool]:
    """Say of each frame of a live video whether it begins a snippet.

    Time is cut into slots of 1 / `per_s` from the first frame on, and the first frame of each
    slot is taken, so that the rate holds whatever the camera's is, and is never exceeded.

    Args:
        times_s: When each frame is shown, seconds. Time that jumps, as after a reconnection,
            begins another slot.
        per_s: Most snippets per second; more than 0.

    Yields:
        One answer per frame.

    Raises:
        ValueError: `per_s` is not a positive number.
    """
    if not 0 < per_s < math.inf:
        raise ValueError(f"per_s must be more than 0, got {per_s}")
    return _new_slots(times_s, per_s)


def _new_slots(times_s: Iterable[float], per_s: float) -> Iterator[bool]:
    first_s: float | None = None
    last = -1
    for time_s in times_s:
        first_s = time_s if first_s is None else first_s
        # Times are fractions in seconds: 3 / 30 * 10 must not fall into slot 0.
        slot = math.floor((time_s - first_s) * per_s + 1e-6)
        yield slot != last
        last = slot


def _require(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
