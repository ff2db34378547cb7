import re
from collections import ChainMap
from typing import Any

import numpy as np
import pytest

from tests.client import golden
from tsnd_client import Modality, accuracy, consensus
from tsnd_client.fusion import FusionWeights, fuse


def test_mean_is_taken_over_snippets_for_each_class():
    mean = consensus.mean_over_snippets([[1, 2, 3], [3, 4, 8]])

    assert mean.dtype == np.float32
    assert mean.tolist() == [2.0, 3.0, 5.5]


@pytest.mark.parametrize("scores", [[], [1.0, 2.0], np.empty((0, 3))])
def test_mean_of_no_snippets_is_refused(scores):
    with pytest.raises(ValueError, match="S >= 1"):
        consensus.mean_over_snippets(scores)


def test_softmax_sums_to_one_along_the_last_axis():
    scores = np.random.default_rng(0).normal(size=(4, 7))

    probabilities = consensus.softmax(scores)

    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, rtol=1e-6)
    np.testing.assert_allclose(
        probabilities[0, 1] / probabilities[0, 0], np.exp(scores[0, 1] - scores[0, 0]), rtol=1e-5
    )


def test_softmax_of_huge_scores_does_not_overflow():
    assert consensus.softmax([1e4, 1e4, -1e4]).tolist() == [0.5, 0.5, 0.0]


def test_top_k_gives_the_largest_first_and_ties_by_index():
    assert consensus.top_k(np.array([0.5, 2.0, 0.5, 1.0]), 3) == [(1, 2.0), (3, 1.0), (0, 0.5)]


def test_top_k_of_more_than_there_are_gives_all():
    assert len(consensus.top_k(np.array([1.0, 2.0]), 5)) == 2


def test_top_zero_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        consensus.top_k(np.array([1.0]), 0)


def test_crops_are_averaged_or_the_best_of_them_taken():
    scores = [[[1.0, 4.0], [3.0, 0.0]]]

    assert consensus.mean_over_crops(scores).tolist() == [[2.0, 2.0]]
    assert consensus.max_over_crops(scores).tolist() == [[3.0, 4.0]]


@pytest.mark.parametrize("reduce", [consensus.mean_over_crops, consensus.max_over_crops])
@pytest.mark.parametrize("shape", [(3, 0, 5), (3, 5)])
def test_scores_without_crops_are_refused(reduce, shape):
    with pytest.raises(ValueError, match="at least one crop"):
        reduce(np.zeros(shape))


def test_top_k_pooling_takes_the_best_snippets_of_each_class():
    scores = [[1.0, 9.0], [5.0, 0.0], [3.0, 1.0]]

    assert consensus.mean_of_best_snippets(scores, 2).tolist() == [4.0, 5.0]
    assert consensus.mean_of_best_snippets(scores, 99).tolist() == pytest.approx([3.0, 10 / 3])
    with pytest.raises(ValueError, match="k must be"):
        consensus.mean_of_best_snippets(scores, 0)


def test_sliding_windows_are_worth_their_best_snippet():
    # Spans of 1 and 2: windows [0] [1] [2] and [0, 1] [2], fewer than 15 each.
    scores = [[3.0], [0.0], [6.0]]

    pooled = consensus.sliding_window_consensus(scores, spans_s=(1, 2))

    assert pooled.tolist() == [pytest.approx((3.0 + (3.0 + 6.0) / 2) / 2)]


def test_of_many_windows_the_best_quarter_counts():
    scores = np.arange(100.0)[:, None]

    pooled = consensus.sliding_window_consensus(scores, spans_s=(1,))

    assert pooled.tolist() == [np.mean(np.arange(75, 100))]


@pytest.mark.parametrize(
    "options", [{"overlap": 1}, {"overlap": -0.1}, {"spans_s": ()}, {"snippets_per_s": 0.5}]
)
def test_windows_that_cannot_be_are_refused(options):
    with pytest.raises(ValueError, match="must"):
        consensus.sliding_window_consensus([[1.0]], **options)


def _crops(name):
    return consensus.max_over_crops if "cropmax" in name else consensus.mean_over_crops


def _golden_rule(name):
    """What a golden result of [S, crops, classes] is; an unknown name fails."""
    if name.startswith("tsn_default"):
        return lambda scores: consensus.mean_over_snippets(_crops(name)(scores))
    if name.startswith("anet2016_default"):
        return lambda scores: consensus.mean_over_snippets(consensus.max_over_crops(scores))
    if match := re.match(r"tsn_topk(\d+)", name):
        return lambda scores: consensus.mean_of_best_snippets(
            consensus.mean_over_crops(scores), int(match[1])
        )
    match = re.match(
        r"(tsn|ssn|anet2016)_sliding(?:_fps(\d+))?(?:_spans_([\d_]+)_overlap(\d+))?", name
    )
    assert match, f"no rule is known for {name}"
    options: dict[str, Any] = {}
    if match[2]:
        options["snippets_per_s"] = int(match[2])
    if match[3]:
        options["spans_s"] = [int(span) for span in match[3].split("_")]
        options["overlap"] = float(f"{match[4][0]}.{match[4][1:]}")
    crops = consensus.mean_over_crops if match[1] == "ssn" else consensus.max_over_crops
    return lambda scores: consensus.sliding_window_consensus(crops(scores), **options)


def _softmax_is_left_out(name):
    return name.endswith("_nosoftmax")


def test_every_consensus_of_the_original_code_is_met():
    for found in golden.arrays("aggregate").values():
        cases = {name.removesuffix("_scores") for name in found if re.match(r"a\d+_scores", name)}
        results = [name for name in found if name.partition("_")[0] in cases]
        assert len(results) > len(cases) > 0
        for name in results:
            case, _, rule = name.partition("_")
            if rule == "scores":
                continue
            video = _golden_rule(rule)(found[f"{case}_scores"])
            actual = video if _softmax_is_left_out(rule) else consensus.softmax(video)
            np.testing.assert_allclose(actual, found[name], rtol=1e-6, atol=1e-6, err_msg=name)


def test_every_fusion_of_the_original_code_is_met():
    for found in golden.arrays("aggregate").values():
        streams = {
            modality: [
                consensus.mean_over_snippets(consensus.mean_over_crops(video))
                for video in found[f"fus_{modality}"]
            ]
            for modality in Modality
        }
        for name in (name for name in found if name.startswith("fus_final_")):
            actual = [
                _fused(name.removeprefix("fus_final_"), rgb, flow).scores
                for rgb, flow in zip(streams[Modality.RGB], streams[Modality.FLOW], strict=True)
            ]
            np.testing.assert_allclose(actual, found[name], rtol=1e-6, atol=1e-6, err_msg=name)
        for name in (name for name in found if name.startswith("fus_default_fusion_func")):
            match = re.fullmatch(r"fus_default_fusion_func_v(\d+)_weights_(.+)", name)
            assert match, name
            video = int(match[1])
            fused = _fused(f"fuse_{match[2]}", *(streams[modality][video] for modality in Modality))
            np.testing.assert_allclose(fused.probabilities, found[name], atol=1e-6)


def test_every_accuracy_of_the_original_code_is_met():
    arrays = ChainMap(*golden.arrays("aggregate").values())
    records = golden.records("aggregate").values()
    expectations = ChainMap(*(record.get("accuracy", {}) for record in records))
    assert expectations
    for name, expected in expectations.items():
        scores, labels = arrays[f"fus_final_{name}"], arrays["fus_labels"]
        actual = {
            "mean_class_accuracy": accuracy.mean_class_accuracy(scores, labels),
            "top1": accuracy.top_k_accuracy(scores, labels, 1),
            "top5": accuracy.top_k_accuracy(scores, labels, 5),
        }
        assert actual == pytest.approx(expected, abs=1e-12), name


def _fused(name, rgb, flow):
    """Fuse as a golden name says: rgb, flow or fuse_<rgb weight>_<flow weight>."""
    if name in list(Modality):
        return fuse({Modality(name): rgb if name == Modality.RGB else flow})
    weights = FusionWeights(*map(float, name.removeprefix("fuse_").split("_")))
    return fuse({Modality.RGB: rgb, Modality.FLOW: flow}, weights)
