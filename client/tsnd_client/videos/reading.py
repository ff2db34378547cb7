"""From the frames of a video to the snippets that models take, in one pass over the video.

dense_flow's numbering: image j is frame j of 0, 1, 2, ..., and flow field j leads from frame
j - 1 to it; frame 0 is nobody's image. So flow is computed between frames that are resized
first, as dense_flow does, and each field once, however many stacks it is in.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt

from tsnd_client.errors import VideoError
from tsnd_client.model_info import Modality, ModelInfo
from tsnd_client.sampling import needed, stack_at
from tsnd_client.videos.protocol import SamplingProtocol
from tsnd_client.videos.snippet import Reading, Snippet, VideoJob
from tsnd_client.videos.source import FlowFields, VideoSource
from tsnd_client.videos.stacking import Planes, Stacker

Pixels = npt.NDArray[np.uint8]

ComputeFlow = Callable[[Pixels, Pixels], Planes]
"""From one grey frame uint8 [H, W] to the next: quantised flow uint8 [2, H, W], x and y."""

# Computed fields that may wait for the one before them, per worker: enough that no worker
# waits for another, and few enough not to matter in memory.
_FIELDS_AHEAD = 4


@dataclass(frozen=True, slots=True)
class FlowPool:
    """Computes flow beside the decoding.

    Attributes:
        compute: The algorithm, which must be safe to run in several threads or processes of
            the executor.
        executor: Where it runs.
        workers: How many fields it computes at the same time.
    """

    compute: ComputeFlow
    executor: Executor
    workers: int


def video_job(
    name: str,
    open_source: Callable[[], VideoSource],
    models: Mapping[Modality, ModelInfo],
    protocol: SamplingProtocol,
    flow: FlowPool | None = None,
) -> VideoJob:
    """Describe the scoring of one video.

    Args:
        name: What the video is called.
        open_source: Opens its frames.
        models: The models that its snippets are for.
        protocol: Which of them are scored.
        flow: Computes flow that the source does not have; None where no model needs it.
    """
    return VideoJob(name, partial(_open, name, open_source, models, protocol, flow))


def _open(
    name: str,
    open_source: Callable[[], VideoSource],
    models: Mapping[Modality, ModelInfo],
    protocol: SamplingProtocol,
    flow: FlowPool | None,
) -> Reading:
    source = open_source()
    counts = {Modality.RGB: source.images, Modality.FLOW: source.fields}
    ticks = {
        modality: protocol.ticks(counts[modality], max(1, model.stack_depth))
        for modality, model in models.items()
    }
    if not any(ticks.values()):
        raise VideoError(_no_snippets(name, {modality: counts[modality] for modality in models}))
    images = max(counts.values())
    return Reading(images, source.frames_per_s, ticks, _read(source, models, ticks, flow))


def _no_snippets(name: str, counts: Mapping[Modality, int]) -> str:
    words = {Modality.RGB: "images", Modality.FLOW: "flow fields"}
    had = " and ".join(f"{counts[modality]} {words[modality]}" for modality in counts)
    return (
        f"no snippet can be made of {name}: it has {had}. A video has one of either for each "
        "frame after the first, and a snippet needs one image, or all fields of its stack."
    )


def _read(
    source: VideoSource,
    models: Mapping[Modality, ModelInfo],
    ticks: Mapping[Modality, Sequence[int]],
    flow: FlowPool | None,
) -> Generator[Snippet, None, None]:
    rgb = set(ticks.get(Modality.RGB, ()))
    stacks = {
        tick: stack_at(tick, source.fields, models[Modality.FLOW].stack_depth)
        for tick in ticks.get(Modality.FLOW, ())
    }
    if isinstance(source, FlowFields):
        yield from _rgb_snippets(source, rgb, models)
        yield from _stored_flow_snippets(source, stacks, models)
    elif stacks and flow is not None:
        yield from _snippets_with_flow(source, rgb, stacks, models, flow)
    else:
        yield from _rgb_snippets(source, rgb, models)


def _rgb_snippets(
    source: VideoSource, ticks: set[int], models: Mapping[Modality, ModelInfo]
) -> Iterator[Snippet]:
    for tick, bgr in source.frames_at(sorted(ticks)):
        yield Snippet(Modality.RGB, tick, _resized(bgr, models[Modality.RGB]))


def _stored_flow_snippets(
    source: FlowFields,
    stacks: Mapping[int, Sequence[int]],
    models: Mapping[Modality, ModelInfo],
) -> Iterator[Snippet]:
    stacker = Stacker(stacks)
    for field, planes in source.fields_at(needed(stacks.values())):
        resized = np.stack([_resized(plane, models[Modality.FLOW]) for plane in planes])
        for tick, pixels in stacker.add(field, resized):
            yield Snippet(Modality.FLOW, tick, pixels)


def _snippets_with_flow(
    source: VideoSource,
    rgb: set[int],
    stacks: Mapping[int, Sequence[int]],
    models: Mapping[Modality, ModelInfo],
    flow: FlowPool,
) -> Iterator[Snippet]:
    """Give rgb snippets as their frames come, and flow snippets as their fields are computed."""
    fields = set(needed(stacks.values()))
    wanted = sorted(rgb | fields | {field - 1 for field in fields})
    stacker = Stacker(stacks)
    pending: deque[tuple[int, Future[Planes]]] = deque()
    previous: tuple[int, Pixels] | None = None
    for index, bgr in source.frames_at(wanted):
        if index in rgb:
            yield Snippet(Modality.RGB, index, _resized(bgr, models[Modality.RGB]))
        if index in fields or index + 1 in fields:
            grey = _to_grey(_resized(bgr, models[Modality.FLOW]))
            if index in fields and previous is not None and previous[0] == index - 1:
                pending.append((index, flow.executor.submit(flow.compute, previous[1], grey)))
            previous = (index, grey)
        most = _FIELDS_AHEAD * flow.workers
        yield from _stacked(stacker, _computed(pending, at_most=most))
    yield from _stacked(stacker, _computed(pending, at_most=0))


def _computed(
    pending: deque[tuple[int, Future[Planes]]], *, at_most: int
) -> Iterator[tuple[int, Planes]]:
    """Take the fields that are there, in order, and wait while more are pending than may be."""
    while pending and (len(pending) > at_most or pending[0][1].done()):
        field, future = pending.popleft()
        yield field, future.result()


def _stacked(stacker: Stacker, fields: Iterable[tuple[int, Planes]]) -> Iterator[Snippet]:
    for field, planes in fields:
        for tick, pixels in stacker.add(field, planes):
            yield Snippet(Modality.FLOW, tick, pixels)


def _resized(pixels: Pixels, model: ModelInfo) -> Pixels:
    """Resize as TSN's test code does: bilinear, to the model's frame, whatever the aspect."""
    if pixels.shape[:2] == (model.frame_height, model.frame_width):
        return pixels
    size = (model.frame_width, model.frame_height)
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def _to_grey(bgr: Pixels) -> Pixels:
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), np.uint8)
