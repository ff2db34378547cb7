"""Do decoding, flow and the two networks overlap when one clip is classified?

A clip of ten seconds is classified by TSN's protocol, 25 snippets of each modality at 340 x 256,
and each stage is run alone on the same work: decoding the frames that are needed, computing
their flow, and having the snippets scored. The daemon, a process of its own, has no engine: a
batch takes it a set time, as one on a GPU would. In turns, so that a drifting machine hits all.

    make bench-two-stream
    python -m benchmarks.two_stream --flow dis --batch-ms 100 --turns 5
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from benchmarks.machine import machine_line
from benchmarks.server_cpu import cpu_s, tsn_build
from tsnd_client.flow.algorithms import Algorithm
from tsnd_client.flow.stack import field_indices
from tsnd_client.images import to_grey
from tsnd_client.model_info import Modality
from tsnd_client.videos.protocol import Spread
from tsnd_client.videos.reading import video_job
from tsnd_client.videos.snippet import ScoredVideo, VideoJob
from tsnd_client.videos.source import open_video
from tsnd_client.videos.two_stream import VideoScorer, Work, video_scorer
from tsnd_daemon.executors.base import Executor
from tsnd_daemon.executors.synthetic import SyntheticExecutor
from tsnd_daemon.model_store import Model
from tsnd_daemon.server import Server
from tsnd_daemon.settings import ExecutionOptions, Settings

WIDTH, HEIGHT, FRAMES_PER_S, SECONDS = 340, 256, 25, 10
BOUND = 1.15
"""Most that everything together may take, in times of the slowest stage alone."""


@dataclass(frozen=True, slots=True)
class Times:
    """How long a stage took, and the processor time of all processes meanwhile; seconds."""

    wall_s: float
    cpu_s: float


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table; status 1 when the stages do not overlap as they must."""
    options = parse(argv)
    if options.serve:
        asyncio.run(serve(options.serve, options.batch_ms / 1e3))
        return 0
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        clip = write_clip(Path(folder) / "clip.mp4")
        repository = build_models(Path(folder))
        target = stack.enter_context(daemon(repository, options.batch_ms))
        scorer = stack.enter_context(
            video_scorer(
                "bench_rgb",
                "bench_flow",
                target=target,
                work=Work(
                    flow_workers=options.flow_workers, flow_algorithm=Algorithm(options.flow)
                ),
            )
        )
        times = measure(clip, scorer, options.turns)
    return report(times, options)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--flow", choices=list(Algorithm), default="tvl1")
    parser.add_argument("--flow-workers", type=int, default=2)
    parser.add_argument("--batch-ms", type=float, default=50, help="time of a batch of up to 8")
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def measure(clip: Path, scorer: VideoScorer, turns: int) -> dict[str, list["Times"]]:
    """Run every stage alone and all together, in turns; seconds."""
    protocol = Spread()
    job = video_job("clip", clip, scorer.models, protocol, scorer.flow)
    with_pixels = list(job.open().snippets)
    prepared = VideoJob("prepared", lambda: replace(job.open(), snippets=iter(with_pixels)))
    stages: dict[str, Callable[[], object]] = {
        "decode": partial(decode, clip, scorer),
        "flow": flow_stage(clip, scorer),
        "network": partial(run_jobs, scorer, prepared),
        "all": partial(run_jobs, scorer, job),
    }
    times: dict[str, list[Times]] = {name: [] for name in stages}
    for _ in range(turns):
        for name, run in stages.items():
            started_s, used_s = time.perf_counter(), family_cpu_s()
            run()
            times[name].append(Times(time.perf_counter() - started_s, family_cpu_s() - used_s))
    return times


def family_cpu_s() -> float:
    """Return the processor time of this process and of those that it started, seconds."""
    used_s = cpu_s(os.getpid())
    for children in Path("/proc/self/task").glob("*/children"):
        with suppress(FileNotFoundError):  # of a thread that has ended since; others took them
            used_s += sum(cpu_s(int(pid)) for pid in children.read_text().split())
    return used_s


def run_jobs(scorer: VideoScorer, job: VideoJob) -> None:
    (outcome,) = scorer.score_jobs([job])
    assert isinstance(outcome, ScoredVideo), outcome


def wanted(clip: Path, scorer: VideoScorer) -> tuple[list[int], list[int]]:
    """Number the frames that both modalities need, and the flow fields."""
    video = open_video(clip)
    depth = scorer.models[Modality.FLOW].stack_depth
    ticks = Spread().ticks(video.fields, depth)
    fields = field_indices(ticks, video.fields, depth)
    frames = {*Spread().ticks(video.images, 1), *fields, *(field - 1 for field in fields)}
    return sorted(frames), fields


def decode(clip: Path, scorer: VideoScorer) -> None:
    frames, _ = wanted(clip, scorer)
    for _ in open_video(clip).frames_at(frames):
        pass


def flow_stage(clip: Path, scorer: VideoScorer) -> Callable[[], object]:
    """Prepare the computing of all fields, of frames in memory."""
    frames, fields = wanted(clip, scorer)
    greys = {frame.index: to_grey(frame.bgr) for frame in open_video(clip).frames_at(frames)}
    pool = scorer.flow
    assert pool is not None
    pairs = [(greys[field - 1], greys[field]) for field in fields]
    list(pool.fields(pairs[:1]))  # the processes start with the first
    return lambda: list(pool.fields(pairs))


def write_clip(path: Path) -> Path:
    """Encode a texture that moves, with noise, so that it costs a decoder what a real clip does."""
    rng = np.random.default_rng(0)
    texture = cv2.resize(rng.integers(0, 256, (16, 21, 3), np.uint8), (WIDTH, HEIGHT))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=FRAMES_PER_S)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(SECONDS * FRAMES_PER_S):
            noise = rng.integers(0, 12, texture.shape, np.uint8)
            moved = np.roll(texture, (index, 2 * index), (0, 1)) // 2 + noise
            picture = av.VideoFrame.from_ndarray(moved, format="bgr24")
            picture.pts, picture.time_base = index, Fraction(1, FRAMES_PER_S)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def build_models(folder: Path) -> Path:
    """Build packages of both modalities; their graphs are not run."""
    for modality in Modality:
        caffe = folder / f"caffe-{modality}"
        tsn_build("synth", "bn_inception", "--modality", str(modality), "--out", caffe)
        tsn_build(
            "build", "--prototxt", caffe / "deploy.prototxt", "--weights",
            caffe / "weights.caffemodel", "--labels", caffe / "labels.txt", "--modality",
            str(modality), "--crops", "10", "--frame-size", f"{HEIGHT}x{WIDTH}", "--name",
            f"bench_{modality}", "--repository", folder / "models",
        )  # fmt: skip
    return folder / "models"


@contextmanager
def daemon(repository: Path, batch_ms: float) -> Iterator[str]:
    """Run this file as a daemon; yields where it listens."""
    command = [sys.executable, "-m", "benchmarks.two_stream", "--serve", str(repository)]
    with subprocess.Popen(
        [*command, "--batch-ms", str(batch_ms)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


async def serve(repository: Path, execution_s: float) -> None:
    options: dict[str, Any] = {"model_repository": repository, "port": 0, "metrics_port": 0}
    settings = Settings(**options)

    def make(model: Model, _options: ExecutionOptions) -> list[Callable[[], Executor]]:
        return [lambda: SyntheticExecutor(model, execution_s=execution_s)]

    server = Server(settings, make_executors=make)
    await server.run(lambda endpoints: print(endpoints.grpc, flush=True))


def report(times: dict[str, list[Times]], options: argparse.Namespace) -> int:
    medians = {
        name: Times(
            statistics.median(each.wall_s for each in found),
            statistics.median(each.cpu_s for each in found),
        )
        for name, found in times.items()
    }
    slowest = max(medians.keys() - {"all"}, key=lambda name: medians[name].wall_s)
    ratio = medians["all"].wall_s / medians[slowest].wall_s
    print(machine_line("av", "opencv-contrib-python-headless"))
    print(
        f"clip of {SECONDS} s, {options.flow} flow with {options.flow_workers} workers, "
        f"{options.batch_ms:g} ms per batch, medians of {options.turns} turns"
    )
    for name, found in medians.items():
        print(f"  {name:<8}{found.wall_s:8.2f} s, {found.cpu_s:8.2f} s of processors")
    print(f"  all / {slowest} = {ratio:.2f}, at most {BOUND} is asked for")
    return 0 if ratio <= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
