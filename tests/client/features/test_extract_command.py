"""`tsn extract` at a real daemon."""

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from tests.daemons import running_daemon
from tsnd_client.cli import main
from tsnd_client.features.store import FORMATS
from tsnd_daemon.executors.synthetic import SyntheticExecutor

TSN = [sys.executable, "-c", "import sys; from tsnd_client.cli import main; sys.exit(main())"]
BOTH = ("--rgb", "tiny_rgb", "--flow", "tiny_flow")


@pytest.fixture
def folder(clip, tmp_path):
    """Six clips of 10 to 35 frames."""
    for n in range(6):
        clip(10 + 5 * n, f"clip{n}.mp4", seed=n, folder=tmp_path / "videos")
    return tmp_path / "videos"


@pytest.fixture
def extract(tiny_repository, tmp_path, capsys):
    """Run `tsn extract --json` into OUT: the exit status, the record and what was complained."""

    async def start(videos, *arguments, out="out", **settings):
        settings = {"make_executor": SyntheticExecutor, **settings}
        async with running_daemon(tiny_repository, **settings) as daemon:
            options = ["--out", tmp_path / out, "--target", daemon.endpoints.grpc, "--json"]
            status = await asyncio.to_thread(
                main, list(map(str, ["extract", videos, *arguments, *options]))
            )
        printed, complaints = capsys.readouterr()
        return status, json.loads(printed) if printed else None, complaints

    return start


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


async def test_every_video_has_features_at_every_tick(extract, folder, tmp_path):
    status, record, complaints = await extract(
        folder, *BOTH, "--what", "scores,features", backend="onnxruntime", make_executor=None
    )

    assert (status, complaints) == (0, "")
    assert (record["videos"], record["written"], record["missing"]) == (6, 6, 0)
    with np.load(tmp_path / "out" / "clip5.npz") as file:
        # 35 frames are 34 images: 1, 7, ... and the last tick at most 34 - depth.
        assert file["rgb_ticks"].tolist() == [1, 7, 13, 19, 25, 31]
        assert file["flow_ticks"].tolist() == [1, 7, 13, 19, 25]
        assert file["rgb_scores"].shape == (6, 5)
        assert file["flow_features"].shape == (5, 10)
        assert int(file["images"]) == 34


@pytest.mark.parametrize("name", FORMATS)
async def test_a_second_run_computes_nothing_and_changes_nothing(extract, folder, tmp_path, name):
    first = await extract(folder, "--rgb", "tiny_rgb", "--format", name)
    before = digests(tmp_path / "out")
    second = await extract(folder, "--rgb", "tiny_rgb", "--format", name)

    assert (first[0], second[0]) == (0, 0)
    assert (second[1]["present"], second[1]["written"], second[1]["snippets"]) == (6, 0, 0)
    assert digests(tmp_path / "out") == before


async def test_a_video_that_fails_among_many_is_told_and_tried_again(extract, folder, tmp_path):
    whole = (folder / "clip2.mp4").read_bytes()
    (folder / "clip2.mp4").write_bytes(b"broken")

    status, record, complaints = await extract(folder, "--rgb", "tiny_rgb")

    assert status == 1
    assert (record["written"], record["missing"]) == (5, 1)
    assert [each["video"] for each in record["failed"]] == ["clip2"]
    assert "1 of 6 videos are missing, 1 of them failed" in complaints

    (folder / "clip2.mp4").write_bytes(whole)
    status, record, complaints = await extract(folder, "--rgb", "tiny_rgb")
    assert (status, record["written"], complaints) == (0, 1, "")


async def test_a_video_too_short_for_one_modality_fails_and_says_which(extract, clip, tmp_path):
    clip(4, folder=tmp_path / "short")

    status, record, _ = await extract(tmp_path / "short", *BOTH)

    assert status == 1
    assert "too short for a flow snippet: it has 3 images" in record["failed"][0]["error"]


async def test_another_interval_into_the_same_folder_is_refused(extract, folder):
    await extract(folder, "--rgb", "tiny_rgb")
    status, record, complaints = await extract(folder, "--rgb", "tiny_rgb", "--interval", "16")

    assert (status, record) == (2, None)
    assert "interval 6, not 16" in complaints


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--rgb", "tiny_rgb", "--what", "boxes"], "has no output 'boxes', only scores, features"),
        (["--rgb", "tiny_rgb", "--what", ","], "--what names nothing"),
        (["--rgb", "tiny_rgb", "--format", "mat"], "expected npy or npz"),
        (["--rgb", "tiny_rgb", "--interval", "0"], "at least 1"),
    ],
)
async def test_options_that_cannot_be_used_are_refused(extract, folder, options, complaint):
    status, _, complaints = await extract(folder, *options)

    assert status == 2
    assert complaint in complaints


class Gate:
    """Lets so many batches through once it is closed, then holds the next until it is opened."""

    def __init__(self):
        self.left = None
        self.reached, self.opened = threading.Event(), threading.Event()

    def close_after(self, batches):
        self.left = batches

    def pass_through(self):
        if self.left is None:
            return
        self.left -= 1
        if self.left < 0:
            self.reached.set()
            assert self.opened.wait(60)


class GatedExecutor(SyntheticExecutor):
    def __init__(self, model, gate):
        super().__init__(model)
        self._gate = gate

    def finish(self, slot):
        self._gate.pass_through()
        return super().finish(slot)


@pytest.mark.parametrize("name", FORMATS)
async def test_a_killed_run_and_another_leave_what_one_clean_run_leaves(
    extract, folder, tmp_path, tiny_repository, name
):
    options = ["--rgb", "tiny_rgb", "--format", name, "--readers", "1", "--max-in-flight", "2"]
    gate = Gate()
    async with running_daemon(
        tiny_repository, make_executor=lambda model: GatedExecutor(model, gate)
    ) as daemon:
        gate.close_after(9)
        arguments = ["extract", folder, *options, "--out", tmp_path / "out"]
        command = [*TSN, *map(str, arguments), "--target", daemon.endpoints.grpc]
        process = await asyncio.to_thread(subprocess.Popen, command, stdout=subprocess.PIPE)
        await asyncio.to_thread(gate.reached.wait, 60)
        os.kill(process.pid, signal.SIGKILL)
        await asyncio.to_thread(process.communicate)
        gate.opened.set()
    there = len(digests(tmp_path / "out"))

    status, record, _ = await extract(folder, *options)
    await extract(folder, *options, out="clean")

    assert status == 0
    assert there > 1, "the killed run had begun"
    assert 0 < record["present"] < 6
    assert digests(tmp_path / "out") == digests(tmp_path / "clean")


async def test_a_daemon_that_dies_in_the_middle_ends_the_run_and_keeps_what_is_whole(
    folder, tmp_path, tiny_repository, capsys
):
    gate = Gate()
    options = ["--rgb", "tiny_rgb", "--readers", "1", "--max-in-flight", "2", "--json"]
    options += ["--patience-s", "0.5"]
    async with running_daemon(
        tiny_repository,
        make_executor=lambda model: GatedExecutor(model, gate),
        drain_grace_s=0.01,
    ) as daemon:
        gate.close_after(9)
        arguments = ["extract", folder, *options, "--out", tmp_path / "out"]
        running = asyncio.create_task(
            asyncio.to_thread(main, [*map(str, arguments), "--target", daemon.endpoints.grpc])
        )
        await asyncio.to_thread(gate.reached.wait, 60)
        daemon.server.stop()
        gate.opened.set()
        status = await running

    out, err = capsys.readouterr()
    record = json.loads(out)
    assert status == 1
    assert 0 < record["written"] < 6
    assert record["missing"] == 6 - record["written"]
    assert "The same command goes on with these" in err


async def test_a_daemon_that_is_restarted_in_the_middle_costs_no_video(
    folder, tmp_path, tiny_repository, extract, capsys
):
    gate = Gate()
    options = ["--rgb", "tiny_rgb", "--readers", "1", "--max-in-flight", "2"]
    async with running_daemon(
        tiny_repository,
        make_executor=lambda model: GatedExecutor(model, gate),
        drain_grace_s=0.01,
    ) as daemon:
        target = daemon.endpoints.grpc
        gate.close_after(9)
        arguments = ["extract", folder, *options, "--out", tmp_path / "out", "--target", target]
        running = asyncio.create_task(asyncio.to_thread(main, list(map(str, arguments))))
        await asyncio.to_thread(gate.reached.wait, 60)
        daemon.server.stop()
        gate.opened.set()
    port = int(target.rpartition(":")[2])
    async with running_daemon(tiny_repository, make_executor=SyntheticExecutor, port=port):
        status = await running
    complaints = capsys.readouterr().err

    assert status == 0
    assert "Trying again in" in complaints
    await extract(folder, *options, out="clean")
    assert digests(tmp_path / "out") == digests(tmp_path / "clean")


async def test_an_interrupt_ends_it_at_once_though_the_daemon_hangs(
    folder, tmp_path, tiny_repository
):
    gate = Gate()
    async with running_daemon(
        tiny_repository, make_executor=lambda model: GatedExecutor(model, gate)
    ) as daemon:
        gate.close_after(9)
        arguments = ["extract", folder, *BOTH, "--flow-algorithm", "dis", "--out", tmp_path / "out"]
        process = await asyncio.to_thread(
            subprocess.Popen,
            [*TSN, *map(str, arguments), "--target", daemon.endpoints.grpc],
            stderr=subprocess.PIPE,
            text=True,
        )
        await asyncio.to_thread(gate.reached.wait, 60)
        process.send_signal(signal.SIGINT)
        _, complaints = await asyncio.to_thread(process.communicate)
        gate.opened.set()

    assert process.returncode == 130
    assert complaints.splitlines()[-1] == "tsn: interrupted"
