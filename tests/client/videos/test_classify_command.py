"""`tsn classify` at a real daemon, beside the same protocol computed by hand."""

import asyncio
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests import offline
from tests.daemons import running_daemon
from tsnd_client.cli import main

CAFFE_RGB_TICKS_OF_39 = list(range(1, 26))
CAFFE_FLOW_TICKS_OF_39 = list(range(1, 26))
BOTH = ("--rgb", "tiny_rgb", "--flow", "tiny_flow")


async def run(repository, *arguments, **settings):
    """Run `tsn` with a daemon beside it; returns the exit status."""
    async with running_daemon(repository, backend="onnxruntime", **settings) as daemon:
        return await asyncio.to_thread(
            main, [*map(str, arguments), "--target", daemon.endpoints.grpc]
        )


@pytest.fixture
def classify(tiny_repository, capsys):
    """Run `tsn classify --json`: the exit status, the records and what was complained."""

    async def start(*arguments):
        status = await run(tiny_repository, "classify", *arguments, "--json")
        out, err = capsys.readouterr()
        return status, [json.loads(line) for line in out.splitlines()], err

    return start


def by_hand(frames, fields, files, weights=(1.0, 1.0)):
    """Score a clip of 40 frames of 21 x 16, as the tiny models take them, and its 39 fields."""
    rgb, flow = (offline.Network.load(*files[modality]) for modality in ("rgb", "flow"))
    images = [offline.rgb_input(frames[tick], rgb.crop) for tick in CAFFE_RGB_TICKS_OF_39]
    stacks = [
        offline.flow_input(np.concatenate(fields[tick - 1 : tick + 4]), flow.crop)
        for tick in CAFFE_FLOW_TICKS_OF_39
    ]
    return weights[0] * rgb.video_scores(images) + weights[1] * flow.video_scores(stacks)


def scores_of(record):
    return [best["score"] for best in sorted(record["top"], key=lambda best: best["index"])]


async def test_both_streams_equal_the_protocol_by_hand(classify, clip, tiny_caffe_files):
    path = clip(40)

    status, (record,), err = await classify(path, *BOTH, "--weights", 1, 1.5)

    assert (status, err) == (0, "")
    frames = offline.all_frames(path, 21, 16)
    expected = by_hand(frames, offline.flow_fields(frames), tiny_caffe_files, (1.0, 1.5))
    np.testing.assert_allclose(scores_of(record), expected, atol=1e-4)
    best = [each["probability"] for each in record["top"]]
    np.testing.assert_allclose(best, sorted(offline.probabilities(expected))[::-1], atol=1e-4)
    assert record["snippets"] == {"rgb": 25, "flow": 25}
    assert (record["modalities"], record["missing"]) == (["rgb", "flow"], [])
    assert record["images"] == 39


async def test_frames_and_flow_on_disk_equal_the_protocol_by_hand(
    classify, clip, tmp_path, tiny_caffe_files
):
    folder = tmp_path / "frames"
    folder.mkdir()
    frames = offline.all_frames(clip(40), 21, 16)
    for number, (frame, planes) in enumerate(
        zip(frames[1:], offline.flow_fields(frames), strict=True), start=1
    ):
        for kind, image in [("img", frame), ("flow_x", planes[0]), ("flow_y", planes[1])]:
            cv2.imwrite(str(folder / f"{kind}_{number:05d}.jpg"), image)

    status, (record,), err = await classify(folder, *BOTH)

    def stored(kind, number):
        mode = cv2.IMREAD_COLOR if kind == "img" else cv2.IMREAD_GRAYSCALE
        return cv2.imread(str(folder / f"{kind}_{number:05d}.jpg"), mode)

    def field(number):
        return np.stack([stored("flow_x", number), stored("flow_y", number)])

    assert (status, err) == (0, "")
    found = [None, *(stored("img", number) for number in range(1, 40))]
    fields = [field(number) for number in range(1, 40)]
    expected = by_hand(found, fields, tiny_caffe_files)
    np.testing.assert_allclose(scores_of(record), expected, atol=1e-4)


async def test_videos_are_named_in_the_order_that_they_were_given(classify, clip):
    paths = [clip(n, f"{n}.mp4", seed=n) for n in (60, 5, 30, 26)]

    status, records, _ = await classify(*paths, "--rgb", "tiny_rgb", "--readers", 4)

    assert status == 0
    assert [record["video"] for record in records] == list(map(str, paths))
    assert {record["snippets"]["rgb"] for record in records} == {25}


async def test_a_video_that_fails_is_told_and_the_others_are_classified(classify, clip, tmp_path):
    good, bad = clip(30), tmp_path / "bad.mp4"
    bad.write_bytes(b"no video at all")

    status, records, err = await classify(bad, good, "--rgb", "tiny_rgb")

    assert status == 1
    assert [record["video"] for record in records] == [str(good)]
    assert err.startswith(f"tsn: error: {bad} is not a video")


async def test_input_of_which_nothing_can_be_used_is_status_2(classify, clip, tmp_path):
    (tmp_path / "empty.mp4").write_bytes(b"")

    status, records, err = await classify(
        tmp_path / "empty.mp4", tmp_path / "none.mp4", clip(1), "--rgb", "tiny_rgb"
    )

    assert (status, records) == (2, [])
    assert [line.partition(": error: ")[2].partition("expected")[0] for line in err.splitlines()]
    assert "empty.mp4 is empty" in err
    assert "there is no file" in err
    assert "no snippet can be made of" in err


async def test_the_other_rule_and_fewer_snippets_are_taken_when_asked_for(classify, clip):
    _, (record,), _ = await classify(
        clip(30), "--rgb", "tiny_rgb", "--snippets", 3, "--rule", "pytorch", "--top", 2
    )

    assert record["snippets"] == {"rgb": 3}
    assert len(record["top"]) == 2


async def test_text_names_the_video_and_its_best_classes(tiny_repository, clip, capsys):
    assert await run(tiny_repository, "classify", clip(30), "--rgb", "tiny_rgb", "--top", 2) == 0

    title, first, second = capsys.readouterr().out.splitlines()
    assert title.endswith("clip.mp4 (25 rgb snippets)")
    assert "%  class " in first
    assert "%  class " in second


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ([], "no model is named"),
        (["--rgb", "tiny_flow"], "takes flow snippets: name it with --flow"),
        (["--rgb", "nobody"], "does not serve model 'nobody'"),
        (["--rgb", "tiny_rgb", "--weights", "0", "0"], "--weights: weights must be"),
        (["--rgb", "tiny_rgb", "--snippets", "1"], "--snippets: snippets must be at least 2"),
        (["--rgb", "tiny_rgb", "--rule", "matlab"], "expected caffe or pytorch"),
    ],
)
async def test_options_that_cannot_be_used_are_refused(classify, clip, options, complaint):
    status, records, err = await classify(clip(30), *options)

    assert (status, records) == (2, [])
    assert complaint in err


def test_no_daemon_is_status_1(clip, capsys):
    assert main(["classify", str(clip(5)), "--rgb", "x", "--target", "127.0.0.1:1"]) == 1

    assert "no daemon serves at 127.0.0.1:1" in capsys.readouterr().err


async def test_the_documented_example_runs(tiny_repository, clip, monkeypatch, capsys):
    document = (Path(__file__).parents[3] / "docs" / "classify.md").read_text()
    (example,) = re.findall(r"^```python\n(.*?)^```", document, re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(clip(12).parent)

    async with running_daemon(tiny_repository, backend="onnxruntime") as daemon:
        code = example.replace("kinetics_", "tiny_")
        await asyncio.to_thread(exec, code, {"target": daemon.endpoints.grpc})

    assert len(capsys.readouterr().out.strip("[] \n").split()) == 5


async def test_images_alone_are_too_little_for_a_flow_model(classify, clip, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, frame in enumerate(offline.all_frames(clip(12), 21, 16)[1:], start=1):
        cv2.imwrite(str(folder / f"img_{number:05d}.jpg"), frame)

    status, _, err = await classify(folder, *BOTH)

    assert status == 2
    assert "has no stored flow, and to compute it lacks frame 0" in err


async def test_flow_alone_is_too_little_for_an_rgb_model_and_says_so(classify, tmp_path):
    folder = tmp_path / "flow"
    folder.mkdir()
    for number in range(1, 9):
        for kind in ("flow_x", "flow_y"):
            cv2.imwrite(str(folder / f"{kind}_{number:05d}.jpg"), np.full((16, 21), 128, np.uint8))

    status, (record,), _ = await classify(folder, *BOTH)
    alone, _, err = await classify(folder, "--rgb", "tiny_rgb")

    assert status == 0
    assert (record["modalities"], record["missing"]) == (["flow"], ["rgb"])
    assert alone == 2
    assert "it has 0 images" in err


async def test_a_folder_with_a_gap_is_refused_with_the_number(classify, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in (1, 2, 4):
        cv2.imwrite(str(folder / f"img_{number:05d}.jpg"), np.zeros((16, 21, 3), np.uint8))

    status, _, err = await classify(folder, "--rgb", "tiny_rgb")

    assert status == 2
    assert "lacks img image 3" in err
