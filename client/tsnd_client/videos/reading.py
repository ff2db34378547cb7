"""From the frames of a video to the snippets that models take, in one pass over the video.

dense_flow's numbering: image j is frame j of 0, 1, 2, ..., and flow field j leads from frame
j - 1 to it; frame 0 is nobody's image. So flow is computed between frames that are resized
first, as dense_flow does, and each field once, however many stacks it is in.
"""

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np

from tsnd_client.errors import VideoError
from tsnd_client.flow.stack import FlowField, field_indices, flow_stacks
from tsnd_client.flow.workers import FlowPool
from tsnd_client.images import Pixels, resize_bgr, to_grey
from tsnd_client.model_info import Modality, ModelInfo
from tsnd_client.sources.base import Frame
from tsnd_client.videos.protocol import SamplingProtocol
from tsnd_client.videos.snippet import Reading, Snippet, VideoJob
from tsnd_client.videos.source import Video, open_video


def video_job(
    name: str,
    path: Path,
    models: Mapping[Modality, ModelInfo],
    protocol: SamplingProtocol,
    flow: FlowPool | None = None,
) -> VideoJob:
    """Describe the scoring of one video.

    Args:
        name: What the video is called.
        path: Its file, or the folder of its images.
        models: The models that its snippets are for.
        protocol: Which of them are scored.
        flow: Computes flow that is not stored; None where no model needs it.
    """
    return VideoJob(name, partial(_open, name, path, models, protocol, flow))


def _open(
    name: str,
    path: Path,
    models: Mapping[Modality, ModelInfo],
    protocol: SamplingProtocol,
    flow: FlowPool | None,
) -> Reading:
    video = open_video(path)
    counts = {Modality.RGB: video.images, Modality.FLOW: video.fields}
    ticks = {
        modality: protocol.ticks(counts[modality], max(1, model.stack_depth))
        for modality, model in models.items()
    }
    if not any(ticks.values()):
        raise VideoError(_no_snippets(name, {modality: counts[modality] for modality in models}))
    images = max(counts.values())
    return Reading(images, video.frames_per_s, ticks, _read(video, models, ticks, flow))


def _no_snippets(name: str, counts: Mapping[Modality, int]) -> str:
    words = {Modality.RGB: "images", Modality.FLOW: "flow fields"}
    had = " and ".join(f"{counts[modality]} {words[modality]}" for modality in counts)
    return (
        f"no snippet can be made of {name}: it has {had}. A video has one of either for each "
        "frame after the first, and a snippet needs one image, or all fields of its stack."
    )


def _read(
    video: Video,
    models: Mapping[Modality, ModelInfo],
    ticks: Mapping[Modality, Sequence[int]],
    flow: FlowPool | None,
) -> Generator[Snippet, None, None]:
    rgb, stacks = (sorted(set(ticks.get(modality, ()))) for modality in Modality)
    if not stacks:
        yield from _rgb_snippets(video, rgb, models)
    elif video.flow is not None:
        yield from _rgb_snippets(video, rgb, models)
        yield from _stored_flow_snippets(video, stacks, models[Modality.FLOW])
    elif flow is not None:
        yield from _snippets_with_flow(video, rgb, stacks, models, flow)


def _rgb_snippets(
    video: Video, ticks: Sequence[int], models: Mapping[Modality, ModelInfo]
) -> Iterator[Snippet]:
    if ticks:
        for frame in video.frames_at(ticks):
            yield _rgb_snippet(frame, models[Modality.RGB])


def _stored_flow_snippets(
    video: Video, ticks: Sequence[int], model: ModelInfo
) -> Iterator[Snippet]:
    wanted = field_indices(ticks, video.fields, model.stack_depth)
    fields = (
        FlowField(field.index, np.stack([_resized(plane, model) for plane in field.planes]))
        for field in video.fields_at(wanted)
    )
    for stack in flow_stacks(fields, ticks, video.fields, model.stack_depth):
        yield Snippet(Modality.FLOW, stack.index, stack.pixels)


def _snippets_with_flow(
    video: Video,
    rgb: Sequence[int],
    ticks: Sequence[int],
    models: Mapping[Modality, ModelInfo],
    flow: FlowPool,
) -> Iterator[Snippet]:
    """Decode once for both: rgb snippets are set aside while the stack that is next is made."""
    model = models[Modality.FLOW]
    fields = set(field_indices(ticks, video.fields, model.stack_depth))
    images = set(rgb)
    aside: deque[Snippet] = deque()

    def frames() -> Iterator[Frame]:
        for frame in video.frames_at(sorted(images | fields | {field - 1 for field in fields})):
            if frame.index in images:
                aside.append(_rgb_snippet(frame, models[Modality.RGB]))
            if frame.index in fields or frame.index + 1 in fields:
                yield frame

    with closing(_computed(frames(), fields, model, flow)) as computed:
        for stack in flow_stacks(computed, ticks, video.fields, model.stack_depth):
            while aside:
                yield aside.popleft()
            yield Snippet(Modality.FLOW, stack.index, stack.pixels)
        for _ in computed:  # frames after the last field
            pass
    yield from aside


def _computed(
    frames: Iterable[Frame], fields: set[int], model: ModelInfo, flow: FlowPool
) -> Generator[FlowField, None, None]:
    """Compute fields between neighbouring frames, several at a time; they come in order."""
    indices: deque[int] = deque()

    def pairs() -> Iterator[tuple[Pixels, Pixels]]:
        previous: Pixels | None = None
        for frame in frames:
            grey = to_grey(_resized(frame.bgr, model))
            if frame.index in fields and previous is not None:
                indices.append(frame.index)
                yield previous, grey
            previous = grey

    for planes in flow.fields(pairs()):
        yield FlowField(indices.popleft(), planes)


def _rgb_snippet(frame: Frame, model: ModelInfo) -> Snippet:
    return Snippet(Modality.RGB, frame.index, _resized(frame.bgr, model))


def _resized(pixels: Pixels, model: ModelInfo) -> Pixels:
    """Resize as TSN's test code does: bilinear, to the model's frame, whatever the aspect."""
    return resize_bgr(pixels, model.frame_width, model.frame_height)
