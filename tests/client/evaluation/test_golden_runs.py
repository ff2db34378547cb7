"""Every run of the original, from the scores of its networks to its numbers."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.client.evaluation.golden import EVALUATION, PRECISION_TOLERANCE, Case, name
from tests.client.evaluation.test_golden import PROTOCOL_OF, needs_golden
from tsnd_client.detection import (
    ACTIVITYNET12,
    THUMOS14,
    ProposalScores,
    SsnSettings,
    fuse,
    select,
)
from tsnd_client.evaluation import evaluate, listed_ground_truth

FILES = {
    "rgb.pc": "thumos14_scores_rgb.npz",
    "flow.pc": "thumos14_scores_flow.npz",
    "an.pc": "anet_scores.npz",
}


def runs():
    """Names of all runs; those of THUMOS14, with 100,000 detections each, take long."""
    path = EVALUATION / "results.json"
    names = sorted(json.loads(path.read_text())) if path.is_file() else []
    slow = pytest.mark.slow
    return [pytest.param(run, marks=[slow] if run.startswith("thumos14") else []) for run in names]


def option(arguments, key, count=1):
    """Read the numbers behind a flag of the original's command line."""
    if key not in arguments:
        return None
    place = arguments.index(key) + 1
    return [float(word) for word in arguments[place : place + count]]


@cache
def read_scores(file):
    """Scores of each video by its name; float16 in the file, float32 in the original."""
    arrays = np.load(EVALUATION / file)
    ends = np.cumsum(arrays["n"])
    return {
        name(video): ProposalScores.checked(
            arrays["rel"][end - count : end],
            *(arrays[key][end - count : end].astype(np.float32) for key in ("act", "comp", "reg")),
        )
        for video, count, end in zip(arrays["vid"], arrays["n"], ends, strict=True)
    }


def settings_of_run(arguments, settings: SsnSettings):
    """Change the settings as the flags of the original's command line do."""
    if nms := option(arguments, "--nms_threshold"):
        settings = replace(settings, nms_threshold=nms[0])
    if top_k := option(arguments, "--top_k"):
        settings = replace(settings, top_k=int(top_k[0]) if top_k[0] > 0 else None)
    if class_top_k := option(arguments, "--cls_top_k"):
        settings = replace(settings, class_top_k=int(class_top_k[0]))
    if "--softmax_before_filter" in arguments:
        settings = replace(settings, softmax_before_filter=True)
    if "--no_regression" in arguments:
        settings = replace(settings, use_regression=False)
    return settings


@needs_golden
@pytest.mark.parametrize("run", runs())
def test_every_run_ends_in_the_originals_numbers(run):
    expected = json.loads((EVALUATION / "results.json").read_text())[run]
    arguments, dataset = expected["argv"], run.partition("_")[0]
    classes = len(expected["gt_per_class"])
    base = THUMOS14 if dataset == "thumos14" else replace(ACTIVITYNET12, classes=classes)
    settings = settings_of_run(arguments, base)
    streams = [read_scores(FILES[word]) for word in arguments if word in FILES]
    by_video = {}
    if "--cls_scores" in arguments:
        arrays = np.load(EVALUATION / f"{dataset}_cls_scores.npz")
        by_video = dict(zip(map(name, arrays["vid"]), arrays["scores"], strict=True))
    listed = Case(dataset, run, Path()).proposal_list()
    truth = listed_ground_truth(listed, labels=None, durations_s={}, source=dataset)

    found = []
    for video in streams[0]:
        weights = option(arguments, "--score_weights", len(streams))
        scores = fuse([stream[video] for stream in streams], weights)
        selection = select(scores, settings, class_scores=by_video.get(video))
        # One second long, so that seconds are fractions of the video.
        found += selection.to_detections(video, 1.0, [str(1 + place) for place in range(classes)])
    result = evaluate(found, truth, PROTOCOL_OF[dataset])

    assert result.detections.tolist() == expected["detections_per_class"]
    precision = expected["ap_per_class"]
    np.testing.assert_allclose(result.precision, precision, rtol=0, atol=PRECISION_TOLERANCE)
    assert result.average_map == pytest.approx(expected["average_mAP"], abs=PRECISION_TOLERANCE)
