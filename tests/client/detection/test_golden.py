"""SSN and TAG against what their authors' code computed."""

import argparse
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tsnd_client.detection import (
    ACTIVITYNET12,
    THUMOS14,
    Head,
    Linear,
    ProposalScores,
    Pyramid,
    RegressionStatistics,
    TagSettings,
    actionness_curve,
    fuse,
    merge_actionness,
    pool_proposals,
    propose,
    relative_proposals,
    reorganise,
    select,
    suppress,
    usable_proposals,
)
from tsnd_client.detection.pyramid import locate
from tsnd_client.detection.tag import group

GOLDEN = Path(__file__).resolve().parents[4] / "shared" / "golden" / "ssn"
# The original computes in float32 what is float64 here.
TOLERANCE = 1e-6

needs_golden_data = pytest.mark.skipif(
    not GOLDEN.is_dir(), reason="the golden data does not lie beside this repository"
)


def read_json(name):
    return json.loads((GOLDEN / name).read_text()) if GOLDEN.is_dir() else {}


def each_case(cases):
    return pytest.mark.parametrize("case", cases, ids=lambda case: case["id"])


class Arrays:
    """The arrays of one case: arrays("keep") is the array c000_keep."""

    def __init__(self, file, case):
        self.file, self.case = file, case

    def __call__(self, name):
        return self.file[f"{self.case}_{name}"]


@pytest.fixture(scope="module")
def golden():
    files = {}

    def load(name):
        if name not in files:
            with np.load(GOLDEN / name) as file:
                files[name] = dict(file)
        return files[name]

    return load


@needs_golden_data
@each_case(read_json("nms/nms_cases.json") or [])
def test_suppression_keeps_what_the_original_keeps_in_its_order(golden, case):
    arrays = Arrays(golden("nms/nms.npz"), case["id"])
    boxes = arrays("boxes")
    column, unit = {"eval": (2, 0), "tag": (3, 1)}[case["kind"]]

    kept = suppress(boxes[:, :2], boxes[:, column], case["thresh"], unit=unit)

    assert kept.tolist() == arrays("keep").tolist()


STPP_CASES = read_json("stpp/stpp_cases.json") or []


@needs_golden_data
@each_case(STPP_CASES)
def test_proposals_are_placed_where_the_original_places_them(golden, case):
    arrays = Arrays(golden("stpp/stpp.npz"), case["id"])

    relative = relative_proposals(arrays("input_proposals"), case["frame_cnt"])
    extent = locate(relative, case["T"])

    kept = usable_proposals(arrays("input_proposals"), case["frame_cnt"])
    assert np.array_equal(kept, arrays("kept_proposals"))
    assert np.array_equal(relative, arrays("rel_props"))
    assert np.array_equal(extent.ticks, arrays("ticks"))
    assert np.array_equal(extent.scaling, arrays("scaling"))


@needs_golden_data
@each_case(STPP_CASES)
def test_pooling_gives_the_scores_of_the_original(golden, case):
    arrays = Arrays(golden("stpp/stpp.npz"), case["id"])
    statistics = RegressionStatistics(*arrays("stats").ravel()) if case["regression"] else None
    head = Head(case["num_class"], Pyramid.of(*case["stpp"]), statistics)

    scores = pool_proposals(arrays("snippet_scores"), arrays("rel_props"), head)

    assert head.width == case["output_dim"]
    close(scores.activity, arrays("out_act"))
    close(scores.completeness, arrays("out_comp"))
    if case["regression"]:
        close(scores.regression, arrays("out_reg"))
    else:
        assert scores.regression is None


@needs_golden_data
@each_case(STPP_CASES)
def test_the_reorganised_layer_is_the_original_bit_for_bit(golden, case):
    arrays = Arrays(golden("stpp/stpp.npz"), case["id"])
    parts = ("act", "comp", "reg") if case["regression"] else ("act", "comp")
    layers = [Linear(arrays(f"{part}_w"), arrays(f"{part}_b")) for part in parts]

    layer = reorganise(
        layers[0], layers[1], layers[2] if case["regression"] else None,
        Pyramid.of(*case["stpp"]).parts,
    )  # fmt: skip

    digest = hashlib.sha256(np.ascontiguousarray(layer.weight).tobytes()).digest()
    assert digest == arrays("testfc_w_sha").tobytes()
    assert np.array_equal(layer.bias, arrays("testfc_b"))
    # A matrix product in float32, summed in another order.
    np.testing.assert_allclose(
        arrays("feat_cropmean") @ layer.weight.T + layer.bias, arrays("snippet_scores"), atol=2e-6
    )


TAG = read_json("tag/tag_cases.json")


@needs_golden_data
def test_the_settings_of_tag_are_those_of_the_original():
    assert TagSettings() == TagSettings(
        tuple(TAG["thresholds"]), tuple(TAG["tolerances"]), TAG["sigma"], TAG["nms"]
    )


@needs_golden_data
@each_case(TAG.get("unit", []))
def test_grouping_finds_the_boxes_of_the_original_in_its_order(golden, case):
    arrays = Arrays(golden("tag/tag_unit.npz"), case["id"])
    scores, boxes = arrays("scores"), arrays("boxes")

    curve = actionness_curve(scores)
    found = group(curve, scores[:, 1].astype(np.float64), TagSettings())

    close(curve, arrays("smooth"))
    assert np.array_equal(curve > np.array(TAG["thresholds"])[:, None], arrays("labels"))
    assert np.array_equal(found.spans, boxes[:, :2])
    close(found.scores, boxes[:, 2])
    assert np.array_equal(propose(scores).spans, boxes[arrays("nms_stable_idx"), :2])


def actionness_of(inputs, modality):
    logits = inputs[f"{modality}_logits"].astype(np.float32)
    return np.split(logits, np.cumsum(inputs[f"{modality}_len"])[:-1])


@needs_golden_data
@pytest.mark.parametrize("run", TAG.get("runs", {}))
def test_tag_proposes_what_the_original_proposes_for_all_of_thumos14(golden, run):
    inputs, outputs = golden("tag/tag_inputs.npz"), golden("tag/tag_outputs.npz")
    match = re.fullmatch(r"(rgbflow|rgb|flow)(?:_w([\d.]+)_([\d.]+))?(?:_min([\d.]+)s)?", run)
    assert match is not None
    modalities = {"rgbflow": ("rgb", "flow")}.get(match[1], (match[1],))
    weights = (float(match[2]), float(match[3])) if match[2] else None
    per_video = zip(*(actionness_of(inputs, modality) for modality in modalities), strict=True)
    expected = np.split(outputs[f"{run}_span_ticks"], np.cumsum(outputs[f"{run}_count"])[:-1])
    scores = outputs.get(f"{run}_score")
    if scores is not None:
        scores = np.split(scores, np.cumsum(outputs[f"{run}_count"])[:-1])
    # Where scores are equal the original's list depends on the sort; ours is this one.
    ties = np.split(
        outputs[f"{run}_tie_stable_span_ticks"], np.cumsum(outputs[f"{run}_tie_count"])[:-1]
    )
    tied = dict(zip(outputs[f"{run}_tie_video"].tolist(), ties, strict=True))

    for video, streams in enumerate(per_video):
        found = propose(merge_actionness(streams, weights))

        assert found.ticks == outputs[f"{run}_T"][video]
        if video in tied:
            assert np.array_equal(found.spans, tied[video]), video
            continue
        duration_s = inputs["duration"][video]
        seconds = found.to_seconds(duration_s, float(match[4] or 0))
        assert np.array_equal(seconds, expected[video] / found.ticks * duration_s), video
        if scores and not match[4]:
            # They are kept as float32.
            np.testing.assert_allclose(found.scores, scores[video], rtol=TOLERANCE, atol=TOLERANCE)


RUNS = read_json("ssn_eval/results.json")
DATA_SETS = {"thumos14": THUMOS14, "anet": ACTIVITYNET12}


def scores_of(golden, name):
    arrays = golden(f"ssn_eval/{name}.npz")
    cuts = np.cumsum(arrays["n"])[:-1]
    rows = [np.split(arrays[part], cuts) for part in ("rel", "act", "comp", "reg")]
    values = [ProposalScores.checked(*video) for video in zip(*rows, strict=True)]
    return dict(zip(arrays["vid"].tolist(), values, strict=True))


def arguments(argv):
    parser = argparse.ArgumentParser()
    parser.add_argument("pickles", nargs="+")
    parser.add_argument("--score_weights", nargs="+", type=float)
    parser.add_argument("--top_k", type=int)
    parser.add_argument("--nms_threshold", type=float)
    parser.add_argument("--cls_scores")
    parser.add_argument("--cls_top_k", type=int, default=1)
    parser.add_argument("--no_regression", action="store_true")
    parser.add_argument("--softmax_before_filter", action="store_true")
    return parser.parse_args(argv)


def settings_for(data_set, classes, options):
    settings = replace(DATA_SETS[data_set], classes=classes, class_top_k=options.cls_top_k)
    if options.top_k:
        settings = replace(settings, top_k=options.top_k if options.top_k > 0 else None)
    if options.nms_threshold:
        settings = replace(settings, nms_threshold=options.nms_threshold)
    if options.softmax_before_filter:
        settings = replace(settings, softmax_before_filter=True)
    return replace(settings, use_regression=not options.no_regression)


def detect(golden, run):
    """Repeat a run of the original's evaluation: a selection for each video, in its order."""
    data_set = run.partition("_")[0]
    options = arguments(RUNS[run]["argv"])
    names = [
        "anet_scores" if pickle == "an.pc" else f"{data_set}_scores_{Path(pickle).stem}"
        for pickle in options.pickles
    ]
    modalities = [scores_of(golden, name) for name in names]
    classes = len(RUNS[run]["ap_per_class"])
    settings = settings_for(data_set, classes, options)
    class_scores = {}
    if options.cls_scores:
        arrays = golden(f"ssn_eval/{data_set}_cls_scores.npz")
        class_scores = dict(zip(arrays["vid"].tolist(), arrays["scores"], strict=True))
    return [
        select(
            fuse([scores[video] for scores in modalities], options.score_weights),
            settings,
            class_scores=class_scores.get(video),
        )
        for video in modalities[0]
    ]


@needs_golden_data
@pytest.mark.parametrize("run", RUNS)
def test_as_many_detections_of_each_class_stay_as_in_the_original(golden, run):
    found = np.concatenate([selection.classes for selection in detect(golden, run)])

    expected = RUNS[run]["detections_per_class"]
    assert np.bincount(found, minlength=len(expected)).tolist() == expected


@needs_golden_data
@pytest.mark.parametrize(
    "path", sorted(GOLDEN.glob("ssn_eval/*_detections_*.npz")), ids=lambda path: path.stem
)
def test_detections_are_those_of_the_original(golden, path):
    expected = golden(f"ssn_eval/{path.name}")
    selections = detect(golden, path.stem.replace("_detections", ""))

    classes = np.concatenate([selection.classes for selection in selections])
    by_class = np.argsort(classes, kind="stable")
    videos = np.repeat(np.arange(len(selections)), [len(selection) for selection in selections])
    assert np.array_equal(classes[by_class], expected["cls"])
    assert np.array_equal(videos[by_class], expected["video"])
    close(np.concatenate([one.relative for one in selections])[by_class], expected["span"])
    np.testing.assert_allclose(
        np.concatenate([one.scores for one in selections])[by_class],
        expected["score"],
        rtol=TOLERANCE,
    )


@needs_golden_data
@pytest.mark.parametrize(("proposals", "scores"), [
    ("thumos14_proposals", "thumos14_scores_rgb"), ("anet_proposals", "anet_scores"),
])  # fmt: skip
def test_a_proposal_list_becomes_the_fractions_that_the_original_scored(golden, proposals, scores):
    listed, scored = golden(f"ssn_eval/{proposals}.npz"), scores_of(golden, scores)
    spans = np.split(listed["prop_frames"], np.cumsum(listed["n_prop"])[:-1])

    for index, video in enumerate(listed["video"].tolist()):
        if video in scored:
            relative = relative_proposals(spans[index], listed["frames"][index])
            assert np.array_equal(relative, scored[video].relative), video


@needs_golden_data
def test_the_settings_of_the_data_sets_are_those_of_the_original():
    manifest = read_json("MANIFEST.json")["topics"]["ssn_eval"]

    for name, settings in (("thumos_config", THUMOS14), ("anet_config", ACTIVITYNET12)):
        assert {key: getattr(settings, key) for key in manifest[name]} == manifest[name]


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE)
