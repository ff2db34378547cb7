"""How long does an evaluation take, beside the rule that goes detection by detection?

The input is as large as SSN's results on THUMOS14: 20 classes, 210 videos, 3,234 instances and
about 98,000 detections, made from a seed. Both rules get the same, must agree, and run in turns.
Reading the file is timed apart. One process; NumPy uses one core here. Where runs of the original
code are kept beside the checkout, their detections are judged too, beside the seconds that the
original took for the whole run: scores to detections, then their evaluation.

    python -m benchmarks.evaluation
    python -m benchmarks.evaluation --detections 20000 --rounds 5
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from benchmarks.evaluation_loop import average_precision_by_loop
from benchmarks.machine import machine_line
from tests.client.evaluation.golden import Case, cases
from tsnd_client.detection.detection import Detection
from tsnd_client.evaluation import (
    PROTOCOLS,
    GroundTruth,
    Unit,
    average_precision,
    evaluate,
    index_detections,
    listed_ground_truth,
    read_results,
)

PROTOCOL = PROTOCOLS["thumos14"]
VIDEOS, INSTANCES = 210, 3234

T = TypeVar("T")


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the evaluation of temporal detection.")
    parser.add_argument("--detections", type=int, default=98_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    truth, detections = synthetic(arguments.detections, arguments.seed)
    predictions, _ = index_detections(detections, truth)

    fast_s, loop_s = [], []
    for _ in range(arguments.rounds):
        fast, seconds = timed(lambda: average_precision(predictions, truth, PROTOCOL.thresholds))
        fast_s.append(seconds)
        loop, seconds = timed(
            lambda: average_precision_by_loop(predictions, truth, PROTOCOL.thresholds)
        )
        loop_s.append(seconds)
        difference = np.abs(fast - loop).max()
        if difference > 1e-12:
            raise SystemExit(f"the two rules differ by {difference}")
    whole_s = [
        timed(lambda: evaluate(detections, truth, PROTOCOL))[1] for _ in range(arguments.rounds)
    ]
    read_s = [time_reading(detections) for _ in range(arguments.rounds)]

    print(machine_line())
    print(f"{len(detections)} detections, {INSTANCES} instances, {len(PROTOCOL.thresholds)} tIoUs")
    print(f"AP of every class, by loop    {shown(loop_s)}")
    print(f"AP of every class, here       {shown(fast_s)}")
    print(
        f"quotient of the medians       {statistics.median(loop_s) / statistics.median(fast_s):.0f}"
    )
    print(f"evaluate() with AR@AN         {shown(whole_s)}")
    print(f"reading the results' JSON     {shown(read_s)}")
    for case in cases():
        print_beside_original(case, arguments.rounds)


def print_beside_original(case: Case, rounds: int) -> None:
    truth = listed_ground_truth(
        case.proposal_list(), labels=None, durations_s={}, source=case.dataset
    )
    found = case.detections()
    protocol = PROTOCOL if case.dataset == "thumos14" else PROTOCOLS["activitynet1.2"]
    seconds = [timed(lambda: evaluate(found, truth, protocol))[1] for _ in range(rounds)]
    print(f"{case}, {len(found)} detections: evaluate() {shown(seconds)}")
    print(f"  the original's whole run    {case.expected['seconds']:8.1f} s")


def synthetic(count: int, seed: int) -> tuple[GroundTruth, list[Detection]]:
    """Make instances, and detections of which most lie about one of them."""
    random = np.random.default_rng(seed)
    labels = PROTOCOL.labels
    assert labels is not None
    video = random.integers(0, VIDEOS, INSTANCES)
    video[:VIDEOS] = np.arange(VIDEOS)
    label = random.integers(0, len(labels), INSTANCES)
    start = random.uniform(0, 200, INSTANCES)
    spans = np.stack([start, start + random.gamma(2.0, 2.5, INSTANCES) + 0.2], axis=1)
    videos = tuple(f"video_test_{index:07d}" for index in range(VIDEOS))
    truth = GroundTruth(videos, labels, video, label, spans, Unit.SECONDS)
    about = random.integers(0, INSTANCES, count)
    length = spans[about, 1] - spans[about, 0]
    middle = spans[about].mean(axis=1) + random.normal(0, 0.4, count) * length
    half = length * np.exp(random.normal(0, 0.5, count)) / 2
    wrong = random.random(count) < 0.3
    found_label = np.where(wrong, random.integers(0, len(labels), count), label[about])
    scores = random.random(count)
    return truth, [
        Detection(
            videos[video[about[row]]],
            max(float(middle[row] - half[row]), 0.0),
            max(float(middle[row] + half[row]), 0.0),
            labels[found_label[row]],
            float(scores[row]),
        )
        for row in range(count)
    ]


def time_reading(detections: list[Detection]) -> float:
    results: dict[str, list[dict[str, object]]] = {}
    for row in detections:
        results.setdefault(row.video_id, []).append(
            {"label": row.label, "score": row.score, "segment": [row.start_s, row.end_s]}
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.json"
        path.write_text(json.dumps({"results": results}))
        return timed(lambda: read_results(path))[1]


def timed(call: Callable[[], T]) -> tuple[T, float]:
    started_s = time.perf_counter()
    result = call()
    return result, time.perf_counter() - started_s


def shown(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):8.3f} s  ({min(seconds):.3f} to {max(seconds):.3f})"


if __name__ == "__main__":
    main()
