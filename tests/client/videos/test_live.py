"""`tsn live` and its library at a real daemon; files are played at their own speed."""

import asyncio
import json
import time

import pytest

from tests.daemons import running_daemon
from tsnd_client import Client, Modality
from tsnd_client.cli import main
from tsnd_client.sources.open import open_source
from tsnd_client.videos.live import LiveOptions, Newest, score_live
from tsnd_client.videos.two_stream import resolve_models
from tsnd_daemon.executors.synthetic import SyntheticExecutor


@pytest.fixture
def live(tiny_repository, capsys):
    async def start(*arguments, **settings):
        settings = {"make_executor": SyntheticExecutor, **settings}
        async with running_daemon(tiny_repository, **settings) as daemon:
            command = ["live", *map(str, arguments), "--target", daemon.endpoints.grpc]
            status = await asyncio.to_thread(main, command)
        return status, *capsys.readouterr()

    return start


def test_a_newer_item_takes_the_place_of_one_that_nobody_took():
    newest = Newest[int]()
    for item in (1, 2, 3):
        newest.put(item)
    newest.end()

    assert list(newest) == [3]
    assert newest.replaced == 2


async def test_a_file_is_played_at_its_own_speed_and_scored_at_the_rate(live, clip):
    began_s = time.monotonic()
    status, out, err = await live(clip(26), "--rgb", "tiny_rgb", "--rate", "5", "--jsonl")
    took_s = time.monotonic() - began_s

    records = [json.loads(line) for line in out.splitlines()]
    assert (status, err) == (0, "")
    assert took_s >= 1.0, "25 frames of 1 / 25 s"
    # A loaded machine may skip some, and says so.
    assert len(records) + records[-1]["skipped"] <= 6
    assert {record["frame"] % 5 for record in records} == {0}
    assert all(record["latency_s"] >= 0 for record in records)
    assert all(len(record["top"]) == 5 and record["missing"] == [] for record in records)


async def test_flow_is_made_of_six_frames_in_a_row_and_its_algorithm_is_named(live, clip):
    status, out, err = await live(clip(12), "--rgb", "tiny_rgb", "--flow", "tiny_flow", "--jsonl")

    records = [json.loads(line) for line in out.splitlines()]
    flow = [record for record in records if record["modality"] == "flow"]
    assert status == 0
    assert "flow by dis; the network is trained on tvl1" in err
    assert flow[0]["frame"] >= 5
    assert flow[0]["missing"] == []


async def test_text_has_the_latency(live, clip):
    _, out, _ = await live(clip(3), "--rgb", "tiny_rgb", "--top", "2")

    assert " ms " in out
    assert out.count("class") == 2


async def test_a_source_that_is_not_there_is_refused(live, tmp_path):
    status, _, err = await live(tmp_path / "none.mp4", "--rgb", "tiny_rgb")

    assert status == 2
    assert "there is no file" in err


async def test_leaving_early_ends_it(tiny_repository, clip):
    def leave(target, path):
        with Client(target) as client:
            models = resolve_models(client, "tiny_rgb", None)
            updates = score_live(open_source(path), client, models, LiveOptions(25.0))
            update = next(updates)
            updates.close()
            return update

    async with running_daemon(tiny_repository, make_executor=SyntheticExecutor) as daemon:
        update = await asyncio.to_thread(leave, daemon.endpoints.grpc, clip(500))

    assert (update.modality, update.frame) == (Modality.RGB, 0)
