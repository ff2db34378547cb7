"""`tsn detect` at a real daemon, beside the detector on what `tsn extract` keeps."""

import asyncio
import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from tests.builders import write_tiny_caffe_model
from tests.daemons import running_daemon
from tsnd_builder import commands
from tsnd_builder.layers.batch_norm import BNStorage
from tsnd_builder.serving_graph import Modality
from tsnd_client.cli import main
from tsnd_client.detection import (
    THUMOS14,
    THUMOS14_LABELS,
    Detector,
    Head,
    RegressionStatistics,
    sliding_windows,
)

FRAMES = 120
STATISTICS = {"rgb": [[0.1, -0.1], [0.2, 0.3]], "flow": [[0, 0.1], [0.1, 0.2]]}
BOTH = ("--rgb", "ssn_rgb", "--flow", "ssn_flow")


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """Packages of tiny networks with a head of SSN for THUMOS14, and one of actionness."""
    repository = tmp_path_factory.mktemp("repository")
    for modality, channels in ((Modality.RGB, 3), (Modality.FLOW, 10)):
        folder = tmp_path_factory.mktemp(modality)
        prototxt, weights, labels = write_tiny_caffe_model(folder, channels=channels)
        rng = np.random.default_rng(channels)
        heads = {}
        for name, width in (("ssn", Head(20).width), ("action", 2)):
            heads[name] = folder / f"{name}.npz"
            np.savez(heads[name], weight=rng.normal(size=(width, 10)).astype(np.float32))
        commands.build(
            commands.CaffeFiles(prototxt, weights, BNStorage.VARIANCE),
            labels=labels,
            name=f"ssn_{modality}",
            modality=modality,
            crops=10,
            frame_size=None,
            repository=repository,
            heads=heads,
        )
    return repository


@pytest.fixture
def tsn(repository, capsys):
    """Run `tsn`: the exit status, what was printed, and what was complained."""

    async def start(*arguments, **settings):
        async with running_daemon(repository, backend="onnxruntime", **settings) as daemon:
            words = [*map(str, arguments), "--target", daemon.endpoints.grpc]
            status = await asyncio.to_thread(main, words)
        return status, *capsys.readouterr()

    return start


@pytest.fixture
def statistics(tmp_path):
    path = tmp_path / "statistics.json"
    path.write_text(json.dumps(STATISTICS))
    return path


@pytest.fixture
def extract(tsn, tmp_path):
    """Run `tsn extract` on a video's folder, and return the arrays of its only file."""

    async def start(folder, what, interval):
        out = tmp_path / f"extracted-{what}"
        arguments = ("--out", out, "--what", what, "--interval", interval)
        status, _, complaints = await tsn("extract", folder, *BOTH, *arguments)
        assert (status, complaints) == (0, "")
        (path,) = out.glob("*.npz")
        with np.load(path) as file:
            return dict(file)

    return start


def detector():
    heads = [
        Head(20, regression=RegressionStatistics(*np.ravel(STATISTICS[modality])))
        for modality in ("rgb", "flow")
    ]
    return Detector(THUMOS14, tuple(heads), weights=(1, 1.5))


def rows(detections):
    return [[one.label, one.start_s, one.end_s, one.score] for one in detections]


def rows_of(path, video):
    results = json.loads(path.read_text())["results"]
    assert list(results) == [video]
    return [[one["label"], *one["segment"], one["score"]] for one in results[video]]


async def test_detections_are_those_of_the_detector_on_extracted_outputs(
    tsn, clip, extract, statistics, tmp_path
):
    path, out = clip(FRAMES, folder=tmp_path / "videos"), tmp_path / "found.json"
    arguments = ("--regression", statistics, "--weights", 1, 1.5, "--out", out)

    status, printed, complaints = await tsn(
        "detect", path, "--config", "thumos14", *BOTH, "--actionness", "ssn_rgb",
        "--actionness-head", "action", *arguments,
    )  # fmt: skip

    assert (status, complaints) == (0, "")
    ssn = await extract(path.parent, "ssn", 6)
    action = await extract(path.parent, "action", 5)
    frames = int(ssn["images"])
    proposals = detector().propose([action["rgb_action"]], frames)
    found = detector().detect([ssn["rgb_ssn"], ssn["flow_ssn"]], proposals, frames)
    expected = rows(found.to_detections("clip", frames / 25, THUMOS14_LABELS))
    assert frames == FRAMES - 1
    assert expected
    assert rows_of(out, "clip") == expected
    assert printed.startswith(f"clip ({len(expected)} detections)\n")
    assert expected[0][0] in printed.splitlines()[1]


async def test_a_page_shows_the_detections_and_the_curve_they_were_found_on(
    tsn, clip, statistics, tmp_path
):
    path = clip(FRAMES, folder=tmp_path / "videos")
    arguments = ("--regression", statistics, "--actionness", "ssn_rgb", "--report", tmp_path / "p")

    status, printed, complaints = await tsn(
        "detect", path, "--config", "thumos14", *BOTH, "--actionness-head", "action", *arguments
    )

    assert (status, complaints) == (0, "")
    page = (tmp_path / "p" / "clip.html").read_text()
    assert printed.splitlines()[1].split()[-1] in page  # the best one's label
    assert "actionness" in page


async def test_a_page_that_cannot_be_written_costs_no_detections(tsn, clip, tmp_path):
    path, out = clip(FRAMES, folder=tmp_path / "videos"), tmp_path / "found.json"
    (tmp_path / "taken").write_text("a file where the folder should be")

    status, _, complaints = await tsn(
        "detect", path, "--config", "thumos14", "--rgb", "ssn_rgb", "--no-regression",
        "--out", out, "--report", tmp_path / "taken",
    )  # fmt: skip

    assert status == 1
    assert complaints.startswith("tsn: no page for clip: ")
    assert rows_of(out, "clip")


async def test_without_actionness_proposals_are_sliding_windows(tsn, clip, extract, tmp_path):
    path, out = clip(FRAMES, folder=tmp_path / "videos"), tmp_path / "found.csv"

    status, _, complaints = await tsn(
        "detect", path, "--config", "thumos14", "--rgb", "ssn_rgb", "--no-regression", "--out", out
    )

    assert (status, complaints) == (0, "")
    outputs = (await extract(path.parent, "ssn", 6))["rgb_ssn"]
    windows = sliding_windows((FRAMES - 1) / 25) * 25
    settings = replace(THUMOS14, use_regression=False)
    found = Detector(settings, (Head(20),)).detect([outputs], windows, FRAMES - 1)
    expected = found.to_detections("clip", (FRAMES - 1) / 25, THUMOS14_LABELS)
    with out.open(newline="") as file:
        written = [
            [row["label"], *(float(row[name]) for name in ("start_s", "end_s", "score"))]
            for row in csv.DictReader(file)
        ]
    assert written == rows(expected)
    assert written


async def test_a_pair_gives_both_modalities_of_actionness(tsn, clip, extract, tmp_path):
    path, out = clip(FRAMES, folder=tmp_path / "videos"), tmp_path / "found.json"

    status, _, complaints = await tsn(
        "detect", path, "--config", "thumos14", "--rgb", "both", "--no-regression",
        "--actionness", "both", "--actionness-head", "action", "--out", out,
        pairs={"both": "ssn_rgb+ssn_flow"},
    )  # fmt: skip

    assert (status, complaints) == (0, "")
    ssn = await extract(path.parent, "ssn", 6)
    action = await extract(path.parent, "action", 5)
    plain = Detector(replace(THUMOS14, use_regression=False), (Head(20),))
    proposals = plain.propose([action["rgb_action"], action["flow_action"]], FRAMES - 1)
    found = plain.detect([ssn["rgb_ssn"]], proposals, FRAMES - 1)
    expected = rows(found.to_detections("clip", (FRAMES - 1) / 25, THUMOS14_LABELS))
    assert rows_of(out, "clip") == expected


async def test_a_video_that_fails_leaves_the_others_their_detections(tsn, clip, tmp_path):
    good, broken = clip(60, "good.mp4"), tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")

    status, printed, complaints = await tsn(
        "detect", broken, good, "--config", "thumos14", "--rgb", "ssn_rgb", "--no-regression",
        "--actionness", "ssn_rgb", "--json",
    )  # fmt: skip

    assert status == 1
    assert list(json.loads(printed)["results"]) == ["good"]
    assert "broken.mp4 is not a video" in complaints


async def test_a_video_that_is_too_short_for_flow_is_told(tsn, clip, statistics, tmp_path):
    out = tmp_path / "found.json"

    status, printed, complaints = await tsn(
        "detect", clip(4), "--config", "thumos14", *BOTH, "--regression", statistics, "--out", out
    )

    assert (status, printed) == (2, "")
    assert "clip is too short for a flow snippet: it has 3 images" in complaints
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--config", "thumos14"), "give --regression FILE"),
        (("--config", "ucf101", "--no-regression"), "expected thumos14 or activitynet1.2"),
        (("--config", "activitynet1.2", "--no-regression"), "--labels FILE with its 100"),
        (("--config", "thumos14", "--no-regression", "--out", "x.txt"), "a name in .json or .csv"),
        (("--config", "thumos14", "--no-regression", "--head", "no"), "has no output 'no'"),
        (("--config", "thumos14", "--no-regression", "--head", "action"), "numbers, expected 201"),
        (("--config", "thumos14", "--regression", "no.json"), "no.json cannot be read"),
        (("--config", "thumos14", "--no-regression", "--weights", 0, 0), "none below 0"),
        (
            ("--config", "thumos14", "--no-regression", "--actionness", "ssn_rgb",
             "--actionness-head", "none"),
            "has no output 'none'",
        ),
    ],
)  # fmt: skip
async def test_what_cannot_be_used_is_refused(tsn, clip, arguments, message):
    status, printed, complaints = await tsn("detect", clip(40), "--rgb", "ssn_rgb", *arguments)

    assert (status, printed) == (2, "")
    assert message in complaints


async def test_two_videos_of_one_name_are_refused(tsn, clip, tmp_path):
    paths = [clip(10, folder=tmp_path / folder) for folder in "ab"]

    status, _, complaints = await tsn(
        "detect", *paths, "--config", "thumos14", "--no-regression", "--rgb", "ssn_rgb"
    )

    assert status == 2
    assert "two videos are called 'clip'" in complaints
