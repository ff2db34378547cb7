"""`tsn evaluate` at a real daemon: a data set of two classes, one still and one that moves."""

import asyncio
import json

import numpy as np
import pytest

from tests.daemons import running_daemon
from tsnd_client.cli import main

BOTH = ("--rgb", "tiny_rgb", "--flow", "tiny_flow")


@pytest.fixture
def ucf101(clip, tmp_path):
    """Six clips in two classes, and two splits of them in UCF101's form."""
    lists: dict[int, list[str]] = {1: [], 2: []}
    for n in range(6):
        label = ("class 0", "class 1")[n % 2].replace(" ", "_")
        clip(12 + n, f"v_{n}.avi", seed=n, folder=tmp_path / "videos" / label)
        lists[1 + n % 3 // 2].append(f"{label}/v_{n}.avi")
    for number, lines in lists.items():
        (tmp_path / f"testlist0{number}.txt").write_text("\n".join(lines))
    return tmp_path


@pytest.fixture
def evaluate(tiny_repository, capsys):
    async def start(*arguments):
        async with running_daemon(tiny_repository, backend="onnxruntime") as daemon:
            command = ["evaluate", *map(str, arguments), "--target", daemon.endpoints.grpc]
            status = await asyncio.to_thread(main, command)
        return status, *capsys.readouterr()

    return start


async def test_a_data_set_is_evaluated_per_split_and_on_average(evaluate, ucf101):
    status, out, err = await evaluate(
        ucf101, "--root", ucf101 / "videos", *BOTH, "--weights", 1, 1.5, "--json",
        "--out", ucf101 / "scores", "--published", "ucf101-bninception-imagenet",
    )  # fmt: skip

    assert (status, err) == (0, "")
    record = json.loads(out)
    assert [split["name"] for split in record["splits"]] == ["testlist01", "testlist02"]
    assert [split["accuracy"]["fused"]["videos"] for split in record["splits"]] == [4, 2]
    assert len(record["published"]["differences"]) == 3
    for stream in ("rgb", "flow"):
        with np.load(ucf101 / "scores" / f"testlist01_{stream}.npz") as file:
            assert file["scores"].shape == (4, 25, 5)
            right = file["scores"].mean(axis=1).argmax(axis=1) == file["labels"]
        found = record["splits"][0]["accuracy"][stream]
        assert found["top1"] == right.mean()
        assert found["top5"] == 1.0


async def test_one_split_file_is_printed_as_a_table(evaluate, ucf101):
    status, out, _ = await evaluate(
        ucf101 / "testlist01.txt", "--root", ucf101 / "videos", "--rgb", "tiny_rgb"
    )

    assert status == 0
    title, header, row = out.splitlines()
    assert title == "testlist01: 4 videos"
    assert header.split() == ["top-1", "top-5", "mean", "class"]
    assert row.split()[0] == "rgb"


async def test_a_video_that_is_missing_is_told_and_counted(evaluate, ucf101):
    (ucf101 / "videos" / "class_0" / "v_0.avi").unlink()

    status, out, err = await evaluate(
        ucf101 / "testlist01.txt", "--root", ucf101 / "videos", "--rgb", "tiny_rgb"
    )

    assert status == 1
    assert out.startswith("testlist01: 3 videos, 1 more failed and count for nothing")
    assert "there is no file" in err


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--root", "none"], "is no folder"),
        (["--published", "imagenet"], "choose kinetics-bninception"),
        (["--weights", "-1", "1"], "--weights: weights must be 0 or more"),
    ],
)
async def test_options_that_cannot_be_used_are_refused(evaluate, ucf101, options, complaint):
    status, _, err = await evaluate(
        ucf101, "--root", ucf101 / "videos", "--rgb", "tiny_rgb", *options
    )

    assert status == 2
    assert complaint in err


async def test_a_data_set_without_any_video_is_status_2(evaluate, ucf101, tmp_path):
    status, _, err = await evaluate(ucf101, "--root", tmp_path, "--rgb", "tiny_rgb")

    assert status == 2
    assert "there is no file" in err
