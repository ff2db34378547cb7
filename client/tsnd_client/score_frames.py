"""Scores for the frames of a video, each in its place, whatever becomes of the daemon meanwhile."""

from collections import deque
from collections.abc import Iterable, Iterator

from tsnd_client.client import Client
from tsnd_client.errors import SnippetRejected
from tsnd_client.images import resize_bgr
from tsnd_client.in_flight import NamedPixels
from tsnd_client.model_info import ModelInfo
from tsnd_client.resilient import RETRYING, OnWait, score_resiliently
from tsnd_client.results import ScoredSnippet
from tsnd_client.retrying import Retrying
from tsnd_client.sources.base import Frame
from tsnd_client.urgency import Priority


def score_frames(
    client: Client,
    model: ModelInfo,
    frames: Iterable[Frame],
    *,
    group_size: int | None = None,
    priority: Priority = Priority.NORMAL,
    retrying: Retrying = RETRYING,
    on_wait: OnWait | None = None,
) -> Iterator[ScoredSnippet | SnippetRejected]:
    """Score frames of any size with an rgb model; errors are those of `score_resiliently`.

    Args:
        client: The daemon's client.
        model: The model to score them with.
        frames: The frames.
        group_size: Snippets in one message, see `Client.score_stream`.
        priority: Which snippets the daemon runs first.
        retrying: How long to go on.
        on_wait: Called with the reason and the seconds before each wait for the daemon.

    Yields:
        One result per frame, in order.
    """
    places: deque[tuple[int, float]] = deque()

    def snippets() -> Iterator[NamedPixels]:
        for frame in frames:
            places.append((frame.index, frame.time_s))
            yield (
                f"frame/{frame.index}",
                resize_bgr(frame.bgr, model.frame_width, model.frame_height),
            )

    for result in score_resiliently(
        client,
        model,
        snippets(),
        group_size=group_size,
        priority=priority,
        retrying=retrying,
        on_wait=on_wait,
    ):
        index, time_s = places.popleft()
        if isinstance(result, SnippetRejected):
            yield result
        else:
            yield ScoredSnippet(
                snippet_id=result.snippet_id,
                frame_index=index,
                time_s=time_s,
                scores=result.scores,
                features=result.features,
                version=result.version,
            )
