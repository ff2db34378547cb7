"""How long does detection take once the snippets are scored? One core, NumPy alone.

A video of ten minutes at 30 frames a second has 3,000 ticks of SSN and 3,600 of TAG. With 1,000
proposals and 20 classes, pooling, scoring and suppression are to take less than 50 ms together.
Times are the thread's on its processor, so that what else the machine does counts less.

    .venv/bin/python -m benchmarks.detection
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from benchmarks.machine import machine_line
from tsnd_client.detection import (
    THUMOS14,
    Head,
    ProposalScores,
    SsnSettings,
    fuse,
    pool_proposals,
    propose,
    relative_proposals,
    select,
)
from tsnd_client.detection.arrays import Floats

FRAMES = 18_000
PROPOSALS = 1_000
BOUND_MS = 50.0
HEAD = Head(THUMOS14.classes)


def main() -> int:
    """Measure each step and say whether the bound holds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=50, help="how often each step is timed")
    rounds = parser.parse_args().rounds
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rng = np.random.default_rng(0)
    outputs = rng.normal(size=(FRAMES // THUMOS14.frame_interval, HEAD.width)).astype(np.float32)
    relative = random_proposals(rng)
    pooled = pool_proposals(outputs, relative, HEAD)
    every_pair = SsnSettings(classes=HEAD.classes, top_k=None)
    actionness = random_actionness(rng)
    print(machine_line("numpy"))
    print(f"{FRAMES} frames, {PROPOSALS} proposals, {HEAD.classes} classes; CPU ms, {rounds} times")
    print(f"{'':44}median     p90     max")
    report("pooling", lambda: pool_proposals(outputs, relative, HEAD), rounds)
    report("scoring, NMS, regression; top 2,000", lambda: select(pooled, THUMOS14), rounds)
    report("the same of all 20,000 pairs", lambda: select(pooled, every_pair), rounds)
    report("TAG proposals of 3,600 ticks", lambda: propose(actionness), max(rounds // 10, 3))
    whole = report("pooling to regression, one modality", lambda: detect(outputs, relative), rounds)
    report("pooling to regression, RGB and flow", lambda: detect_two(outputs, relative), rounds)
    print(f"bound {BOUND_MS:g} ms, one modality: {'holds' if whole < BOUND_MS else 'BROKEN'}")
    return 0 if whole < BOUND_MS else 1


def detect(outputs: npt.NDArray[np.float32], relative: Floats) -> None:
    """Find the actions of one modality."""
    select(pool_proposals(outputs, relative, HEAD), THUMOS14)


def detect_two(outputs: npt.NDArray[np.float32], relative: Floats) -> None:
    """Find the actions of two modalities."""
    streams: list[ProposalScores] = [pool_proposals(outputs, relative, HEAD) for _ in range(2)]
    select(fuse(streams, (1.0, 1.5)), THUMOS14)


def random_proposals(rng: np.random.Generator) -> Floats:
    """Draw proposals of 1 s to a minute, lengths even on a logarithmic scale."""
    lengths = np.exp(rng.uniform(np.log(30), np.log(1_800), PROPOSALS))
    starts = rng.uniform(0, FRAMES - lengths)
    return relative_proposals(np.stack([starts, starts + lengths], axis=1), FRAMES)


def random_actionness(rng: np.random.Generator) -> Floats:
    """Draw a curve that swings as an actionness network's does: a walk that is pulled back."""
    action = np.zeros(FRAMES // 5)
    for tick in range(1, len(action)):
        action[tick] = 0.97 * action[tick - 1] + rng.normal()
    return np.stack([np.zeros_like(action), action], axis=1)


def report(what: str, work: Callable[[], object], rounds: int) -> float:
    """Time some work, print a line on it, and return the median in milliseconds."""
    work()
    times_ms = []
    for _ in range(rounds):
        begin_ns = time.thread_time_ns()
        work()
        times_ms.append((time.thread_time_ns() - begin_ns) / 1e6)
    median = statistics.median(times_ms)
    p90 = float(np.quantile(times_ms, 0.9))
    print(f"{what:42}{median:8.1f}{p90:8.1f}{max(times_ms):8.1f}")
    return median


if __name__ == "__main__":
    sys.exit(main())
