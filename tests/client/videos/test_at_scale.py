"""What holds for many videos, long ones and a real network."""

import asyncio
import json
import subprocess
import sys
import urllib.request

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests import offline
from tests.daemons import running_daemon
from tsnd_builder import commands, synth
from tsnd_builder.layers.batch_norm import BNStorage
from tsnd_builder.serving_graph import Modality
from tsnd_client.cli import main
from tsnd_daemon.executors.synthetic import SyntheticExecutor

MAX_BATCH_SIZE = 8
CLASSES = 20


def metric(address, name, **labels):
    with urllib.request.urlopen(address) as page:  # our own daemon's
        families = text_string_to_metric_families(page.read().decode())
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def executor(model):
    """An engine that takes 100 ms for a batch: slower than videos are read, so it can be full."""
    return SyntheticExecutor(model, max_batch_size=MAX_BATCH_SIZE, execution_s=0.1)


@pytest.mark.slow
async def test_200_short_clips_keep_the_batches_full(tiny_repository, clip, tmp_path, capsys):
    folder = tmp_path / "videos"
    first = clip(30, "clip0.mp4", folder=folder).read_bytes()
    for number in range(1, 200):
        (folder / f"clip{number}.mp4").write_bytes(first)

    async with running_daemon(
        tiny_repository, make_executor=executor, max_batch_size=MAX_BATCH_SIZE
    ) as daemon:
        page = daemon.endpoints.metrics
        before = metric(page, "tsnd_inferences_total"), metric(page, "tsnd_executions_total")
        arguments = ["extract", folder, "--rgb", "tiny_rgb", "--out", tmp_path / "out", "--json"]
        status = await asyncio.to_thread(
            main, [*map(str, arguments), "--target", daemon.endpoints.grpc]
        )
        inferences = metric(page, "tsnd_inferences_total") - before[0]
        executions = metric(page, "tsnd_executions_total") - before[1]

    assert status == 0
    # 29 images: ticks 1, 7, 13, 19, 25.
    assert json.loads(capsys.readouterr().out)["snippets"] == inferences == 200 * 5
    assert inferences / executions >= 0.9 * MAX_BATCH_SIZE


@pytest.mark.slow
async def test_a_video_of_an_hour_takes_less_than_a_gigabyte(tiny_repository, clip, tmp_path):
    path = clip(3600 * 25, "hour.mp4", size=(16, 16))
    code = (
        "import resource, sys\n"
        "from tsnd_client.cli import main\n"
        "status = main(sys.argv[1:])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
        "sys.exit(status)"
    )
    async with running_daemon(tiny_repository, make_executor=SyntheticExecutor) as daemon:
        for arguments in (
            ["classify", path, "--rgb", "tiny_rgb"],
            ["extract", path.parent, "--rgb", "tiny_rgb", "--out", tmp_path / "out"],
        ):
            command = [sys.executable, "-c", code, *map(str, arguments)]
            ended = await asyncio.to_thread(
                subprocess.run,
                [*command, "--target", daemon.endpoints.grpc],
                capture_output=True,
                text=True,
                check=True,
            )
            peak_bytes = int(ended.stdout.splitlines()[-1]) * 1024
            assert peak_bytes < 1e9


@pytest.mark.slow
async def test_bn_inception_equals_the_protocol_by_hand(clip, tmp_path, capsys):
    files = {}
    for modality in Modality:
        folder = tmp_path / modality
        model = synth.synthesize("bn_inception", modality, classes=CLASSES, seed=0)
        synth.write_caffe_model(model, folder, classes=CLASSES)
        files[modality] = folder / "deploy.prototxt", folder / "weights.caffemodel"
        commands.build(
            commands.CaffeFiles(*files[modality], BNStorage.VARIANCE),
            labels=folder / "labels.txt",
            name=f"bn_{modality}",
            modality=modality,
            crops=10,
            frame_size=None,
            repository=tmp_path / "models",
        )
    path = clip(40, size=(256, 336))

    options = ["--rgb", "bn_rgb", "--flow", "bn_flow", "--snippets", "3", "--top", str(CLASSES)]
    async with running_daemon(tmp_path / "models", backend="onnxruntime") as daemon:
        status = await asyncio.to_thread(
            main,
            ["classify", str(path), *options, "--json", "--target", daemon.endpoints.grpc],
        )

    assert status == 0
    record = json.loads(capsys.readouterr().out)
    frames = offline.all_frames(path, 340, 256)
    rgb, flow = (
        offline.Network.load(*files[modality]) for modality in (Modality.RGB, Modality.FLOW)
    )
    # 39 images: steps of 19 for rgb, of 17 for flow.
    images = [offline.rgb_input(frames[tick], rgb.crop) for tick in (1, 20, 39)]
    stacks = []
    for tick in (1, 18, 35):
        fields = offline.flow_fields(frames[tick - 1 : tick + 5])
        stacks.append(offline.flow_input(np.concatenate(fields), flow.crop))
    expected = rgb.video_scores(images) + flow.video_scores(stacks)
    found = np.zeros(CLASSES)
    for best in record["top"]:
        found[best["index"]] = best["score"]
    np.testing.assert_allclose(found, expected, atol=1e-4)
