"""From scores of proposals to mAP: detector and evaluation together, on the original's runs."""

import numpy as np
import pytest

from tests.client.detection.test_golden import (
    RUNS,
    detect,
    golden,  # noqa: F401 -- a fixture
    needs_golden_data,
)
from tests.client.evaluation.golden import EVALUATION, Case
from tsnd_client.detection import Detection
from tsnd_client.evaluation import PROTOCOLS, evaluate, listed_ground_truth

PROTOCOL_OF = {"thumos14": PROTOCOLS["thumos14"], "anet": PROTOCOLS["activitynet1.2"]}


@needs_golden_data
@pytest.mark.parametrize("run", RUNS)
def test_detections_of_the_scores_have_the_precision_of_the_original(golden, run):  # noqa: F811
    data_set, _, rest = run.partition("_")
    case = Case(data_set, rest, EVALUATION)
    truth = listed_ground_truth(case.proposal_list(), labels=None, durations_s={}, source=data_set)
    found = [
        Detection(video, float(span[0]), float(span[1]), str(label + 1), float(score))
        for video, one in zip(case.scored_videos(), detect(golden, run), strict=True)
        for span, label, score in zip(one.relative, one.classes, one.scores, strict=True)
    ]

    result = evaluate(found, truth, PROTOCOL_OF[data_set])

    np.testing.assert_allclose(result.precision, RUNS[run]["ap_per_class"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(result.mean_precision, RUNS[run]["mAP"], rtol=0, atol=1e-6)
