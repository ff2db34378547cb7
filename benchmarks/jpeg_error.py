"""How much do scores change when frames travel as JPEG, by its quality?

A genuine BN-Inception with random weights is served by a real daemon; every fourth frame of a real
clip is sent raw and at each quality, resized to the model's frame size before it is compressed,
as a client would. The daemon decodes. What raw frames sent a second time differ by is the noise
of the measurement: batches of other sizes add in another order.

    make bench-jpeg
"""

import asyncio
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.machine import machine_line
from benchmarks.precision import tsn_build
from benchmarks.server_cpu import BIN, process
from examples.demo import find_clip
from tsnd_client import Client, Jpeg, SnippetScores, score_resiliently, softmax
from tsnd_client.images import resize_bgr
from tsnd_client.in_flight import NamedPixels
from tsnd_client.model_info import ModelInfo
from tsnd_client.sources.open import open_stored

MODEL = "bn_inception_rgb"
STRIDE = 4
WAYS = {
    **{f"quality {quality}": (quality, False) for quality in (75, 85, 90, 95, 100)},
    **{f"quality {quality}, 4:4:4": (quality, True) for quality in (90, 95, 100)},
}
"""Quality, and whether colour has all of its resolution."""

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Change:
    """What a way to send frames changes, beside raw pixels.

    Attributes:
        kilobytes: Mean size of a snippet, 1000 bytes.
        rms: Root mean square of the changes of scores, by that of the scores' deviation over
            the frames of the clip: 1 is a change as large as that from one frame to another.
        largest: Largest change of a score, by the largest score.
        probability: Largest change of any class's probability.
        same_first: Share of the frames whose first class stays.
        video: Largest change of a score averaged over the clip, by the largest of these.
    """

    kilobytes: float
    rms: float
    largest: float
    probability: float
    same_first: float
    video: float


def change(found: Scores, expected: Scores, kilobytes: float) -> Change:
    """Compare scores [frames, classes] with those of raw pixels."""
    error = found - expected
    spread = expected - expected.mean(axis=0)
    same = found.argmax(axis=1) == expected.argmax(axis=1)
    probabilities = [
        np.abs(softmax(a) - softmax(b)).max() for a, b in zip(found, expected, strict=True)
    ]
    video = expected.mean(axis=0)
    return Change(
        kilobytes=kilobytes,
        rms=float(np.sqrt((error**2).mean() / (spread**2).mean())),
        largest=float(np.abs(error).max() / np.abs(expected).max()),
        probability=float(max(probabilities)),
        same_first=float(same.mean()),
        video=float(np.abs(error.mean(axis=0)).max() / np.abs(video).max()),
    )


def compress(pixels: npt.NDArray[np.uint8], quality: int, *, full_colour: bool = False) -> bytes:
    """Compress as OpenCV does: unless told otherwise, with half the resolution in colour."""
    sampling = (
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
        if full_colour
        else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
    )
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    is_done, data = cv2.imencode(".jpg", pixels, options)
    if not is_done:
        raise RuntimeError("OpenCV did not compress a frame")
    return data.tobytes()


def score(client: Client, model: ModelInfo, snippets: Iterator[NamedPixels]) -> Scores:
    results = list(score_resiliently(client, model, snippets))
    return np.stack([r.scores for r in results if isinstance(r, SnippetScores)]).astype(np.float64)


def measure(target: str, clip: Path) -> dict[str, Change]:
    with Client(target) as client:
        model = client.model(MODEL)
        frames = [
            resize_bgr(frame.bgr, model.frame_width, model.frame_height)
            for frame in open_stored(clip).frames(STRIDE)
        ]
        raw_kb = frames[0].nbytes / 1e3
        expected = score(client, model, named(frames))
        rows = {"raw, again": change(score(client, model, named(frames)), expected, raw_kb)}
        for name, (quality, full_colour) in WAYS.items():
            files = [compress(frame, quality, full_colour=full_colour) for frame in frames]
            kilobytes = sum(map(len, files)) / len(files) / 1e3
            found = score(client, model, named([Jpeg(file) for file in files]))
            rows[name] = change(found, expected, kilobytes)
    print(f"{len(frames)} frames of {clip.name}, {model.frame_width} x {model.frame_height}")
    return rows


def named(snippets: Sequence[npt.NDArray[np.uint8] | Jpeg]) -> Iterator[NamedPixels]:
    return ((str(number), snippet) for number, snippet in enumerate(snippets))


async def serve_and_measure(folder: Path, clip: Path) -> dict[str, Change]:
    caffe, repository = folder / "caffe", folder / "models"
    tsn_build("synth", "bn_inception", "--modality", "rgb", "--out", caffe)
    tsn_build(
        "build", "--prototxt", caffe / "deploy.prototxt", "--weights", caffe / "weights.caffemodel",
        "--labels", caffe / "labels.txt", "--modality", "rgb", "--crops", "1",
        "--name", MODEL, "--repository", repository,
    )  # fmt: skip
    tsnd = (
        BIN / "tsnd", "--model-repository", repository, "--port", "0", "--metrics-port", "0",
        "--backend", "onnxruntime", "--precision", "fp32", "--log-level", "WARNING",
    )  # fmt: skip
    async with process(*tsnd) as (_, target):
        return await asyncio.to_thread(measure, target, clip)


def report(rows: dict[str, Change]) -> None:
    print("| | KB | rms | largest | probability | same first class | whole clip |")
    print("|---|---|---|---|---|---|---|")
    for name, row in rows.items():
        print(
            f"| {name} | {row.kilobytes:.0f} | {row.rms:.2%} | {row.largest:.2%} | "
            f"{row.probability:.4f} | {row.same_first:.1%} | {row.video:.2%} |"
        )


def main() -> int:
    clip = find_clip()
    print(machine_line("onnxruntime", "simplejpeg"), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        rows = asyncio.run(serve_and_measure(Path(folder), clip))
    report(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
