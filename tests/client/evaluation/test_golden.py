"""The original evaluation's numbers, on the detections that it was given."""

import json

import numpy as np
import pytest

from tests.client.evaluation.golden import (
    EVALUATION,
    PRECISION_TOLERANCE,
    SORTS_AS_THERE,
    TAG,
    cases,
    name,
)
from tsnd_client.evaluation import (
    PROTOCOLS,
    Annotation,
    Predictions,
    Unit,
    average_recall,
    evaluate,
    listed_ground_truth,
    read_proposal_list,
    to_frames,
    to_ground_truth,
)

PROTOCOL_OF = {"thumos14": PROTOCOLS["thumos14"], "anet": PROTOCOLS["activitynet1.2"]}
needs_golden = pytest.mark.skipif(
    not EVALUATION.is_dir(), reason="the original's numbers are not beside this checkout"
)


@needs_golden
@pytest.mark.parametrize("case", cases(), ids=str)
def test_every_average_precision_is_the_originals(case):
    expected = case.expected
    truth = listed_ground_truth(
        case.proposal_list(), labels=None, durations_s={}, source=case.dataset
    )

    result = evaluate(case.detections(), truth, PROTOCOL_OF[case.dataset])

    assert result.protocol.thresholds == tuple(expected["iou"])
    assert result.instances.tolist() == expected["gt_per_class"]
    assert result.detections.tolist() == expected["detections_per_class"]
    tolerance = PRECISION_TOLERANCE
    np.testing.assert_allclose(result.precision, expected["ap_per_class"], rtol=0, atol=tolerance)
    np.testing.assert_allclose(result.mean_precision, expected["mAP"], rtol=0, atol=tolerance)
    assert result.average_map == pytest.approx(expected["average_mAP"], abs=tolerance)


@needs_golden
def test_a_normalized_list_becomes_the_originals_list_of_frames():
    listed = read_proposal_list(EVALUATION / "anet_normalized_list.txt")
    frames = json.loads((EVALUATION / "anet_frames.json").read_text())
    expected = np.load(EVALUATION / "anet_proposals.npz")

    videos = [to_frames(video, frames[video.video_id][1]) for video in listed]

    assert [name(path) for path in expected["video"]] == [
        name(frames[video.video_id][0]) for video in videos
    ]
    assert [video.frames for video in videos] == expected["frames"].tolist()
    instances = [(row.label, row.start, row.end) for video in videos for row in video.instances]
    assert instances == [tuple(row) for row in expected["gt"].tolist()]
    proposals = [(row.start, row.end) for video in videos for row in video.proposals]
    assert proposals == [tuple(row) for row in expected["prop_frames"].tolist()]
    labels = [row.label for video in videos for row in video.proposals]
    assert labels == expected["prop_label"].tolist()


def recall_curves():
    """Each curve of AR@AN that is there: its proposals' name and where it ends."""
    if not TAG.is_dir():
        return []
    suffix = "_recall"
    names = [key for key in np.load(TAG / "tag_outputs.npz").files if key.endswith(suffix)]
    return [key.removesuffix(suffix).rpartition("_ar_an")[::2] for key in names]


@needs_golden
@pytest.mark.parametrize(("proposals", "end"), recall_curves())
def test_average_recall_is_the_originals(proposals, end):
    inputs, outputs = np.load(TAG / "tag_inputs.npz"), np.load(TAG / "tag_outputs.npz")
    videos = [str(video) for video in inputs["video"]]
    truth = to_ground_truth(
        [
            Annotation(videos[video], "any", *map(float, span))
            for video, span in zip(inputs["gt_video"], inputs["gt_span"], strict=True)
        ],
        unit=Unit.SECONDS,
        durations_s={},
        left_out={},
        source="golden",
    )
    video_of = {video: index for index, video in enumerate(truth.videos)}
    counts = outputs[f"{proposals}_count"]
    rows = np.repeat(np.arange(len(videos)), counts)
    seconds_per_tick = (inputs["duration"] / outputs[f"{proposals}_T"])[rows, np.newaxis]
    # Where no scores are kept the order, best first, stands for them.
    scores = outputs.get(f"{proposals}_score", -np.arange(len(rows)))
    found = Predictions(
        video=np.array([video_of[videos[row]] for row in rows]),
        label=np.zeros(len(rows), np.int64),
        spans=outputs[f"{proposals}_span_ticks"] * seconds_per_tick,
        scores=scores.astype(np.float64),
    )

    curve = average_recall(found, truth, proposals_per_video=None if end == "None" else float(end))

    # Four of the videos have equal scores: one hit more or less in each.
    tolerance = 1e-12 if SORTS_AS_THERE else 4 / len(truth.video)
    key = f"{proposals}_ar_an{end}"
    np.testing.assert_allclose(curve.proposals_per_video, outputs[f"{key}_nr"], rtol=1e-12)
    np.testing.assert_allclose(curve.recall, outputs[f"{key}_recall"], rtol=0, atol=tolerance)
    np.testing.assert_allclose(curve.average, outputs[f"{key}_avg"], rtol=0, atol=tolerance)
