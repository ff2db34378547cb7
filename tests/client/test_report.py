import json
import re
from pathlib import Path

import grpc
import numpy as np

from tsnd_client import report
from tsnd_client.errors import SnippetRejected
from tsnd_client.model_info import Modality, ModelSummary, Pair
from tsnd_client.results import ScoredSnippet

API = Path(__file__).parents[2] / "docs" / "api.md"
LABELS = ("walk", "run", "jump")


def snippet(scores, version=3):
    return ScoredSnippet(
        snippet_id="frame/50",
        frame_index=50,
        time_s=2.0,
        scores=np.array(scores, np.float32),
        features=np.empty(0, np.float32),
        version=version,
    )


def test_models_are_listed_in_aligned_columns():
    lines = report.model_lines(
        [ModelSummary("a", 1, Modality.RGB, 101), ModelSummary("long", 2, Modality.FLOW, 20)]
    )

    assert lines == [
        "a     version 1  rgb   101 classes",
        "long  version 2  flow  20 classes",
    ]


def test_pairs_are_listed_after_the_models():
    lines = report.model_lines(
        [ModelSummary("a", 1, Modality.RGB, 101), ModelSummary("b", 1, Modality.FLOW, 101)],
        [Pair("both", rgb_model="a", flow_model="b")],
    )

    assert lines[0] == "a     version 1  rgb   101 classes"
    assert lines[2:] == ["both  pair of a and b"]


def test_a_record_has_the_keys_that_the_api_page_promises(rgb_model):
    _, _, section = API.read_text().partition("## For scripts")
    rows = re.findall(r"^\| (`.*?) \|", section.partition("\n## ")[0], re.MULTILINE)
    promised = {key for row in rows for key in re.findall(r"`(\w+)`", row)}

    record = report.models_record("h:1", [rgb_model], [], with_labels=True)

    assert list(record) == ["target", "models", "pairs"]
    assert set(record["models"][0]) == promised


def test_a_record_is_all_that_a_client_needs(flow_model):
    record = report.models_record("h:1", [flow_model], [Pair("p", "r", "f")])

    assert json.loads(json.dumps(record)) == {
        "target": "h:1",
        "models": [
            {
                "name": "toy-flow",
                "version": 3,
                "modality": "flow",
                "classes": 3,
                "snippet_shape": [4, 6, 8],
                "frame_height": 6,
                "frame_width": 8,
                "stack_depth": 2,
                "crops_per_snippet": 10,
                "outputs": [
                    {"name": "scores", "data_type": "float32", "shape": [3]},
                    {"name": "features", "data_type": "float32", "shape": [2]},
                ],
                "max_batch_size": 8,
                "max_group_size": 16,
                "backend": "onnxruntime",
                "precision": "fp32",
            }
        ],
        "pairs": [{"name": "p", "rgb_model": "r", "flow_model": "f"}],
    }


def test_no_models_is_said_in_words():
    assert report.model_lines([]) == ["no models are being served"]


def test_a_snippet_takes_one_line():
    line = report.snippet_line(snippet([0, np.log(3), -99]), LABELS, top=2)

    assert line == "    2.00 s  frame     50  run 75.0%, walk 25.0%"


def test_the_video_is_the_mean_before_softmax():
    lines = report.video_lines([snippet([0, 4, 0]), snippet([0, -4, 0])], LABELS, top=1)

    assert lines == [
        "whole video (mean of the scores of 2 snippets, then softmax)",
        "  walk 33.3%",
    ]


def test_the_header_says_what_the_lines_hold(rgb_model):
    assert report.header_line(rgb_model, top=5) == (
        "toy-rgb version 3: top 3 of 3 classes per snippet (softmax of its scores)"
    )


def test_speed_is_given_per_second():
    assert report.speed_line(30, 1.5) == "30 snippets in 1.50 s, 20.0 snippets/s"


def test_versions_that_scored_one_video_are_named_once_each():
    line = report.versions_line([snippet([0], version) for version in (4, 3, 3)])

    assert line.startswith("versions 3, 4 of the model scored parts of the video")


def test_rejections_are_counted_with_the_first_reason():
    first = SnippetRejected("frame/5", grpc.StatusCode.INTERNAL, "engine failed")

    line = report.rejection_line([first, first], sent=9)

    assert line.startswith("2 of 9 snippets were not scored")
    assert "engine failed" in line
