"""Scores for the frames of a video, none of which is lost to a daemon with too much work.

A frame that the daemon has no room for ends the stream, so that what was sent already is
answered and nothing more is sent in vain. After the wait that the daemon asked for, a
new stream begins with the frames that had no room. At most `max_in_flight` are kept so.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace

from tsnd_client.client import Client
from tsnd_client.errors import SnippetRejected
from tsnd_client.images import resize_bgr
from tsnd_client.in_flight import NamedPixels
from tsnd_client.messages import SnippetScores
from tsnd_client.model_info import ModelInfo
from tsnd_client.results import ScoredSnippet
from tsnd_client.sources.base import Frame
from tsnd_client.urgency import Priority

# A daemon that scores nothing for so long is not just busy.
PATIENCE_S = 60.0
# Whatever a daemon asks for, its answer is worth hearing again after that.
MAX_WAIT_S = 5.0


def score_frames(
    client: Client,
    model: ModelInfo,
    frames: Iterable[Frame],
    *,
    group_size: int = 1,
    priority: Priority = Priority.NORMAL,
    sleep: Callable[[float], object] = time.sleep,
    clock_s: Callable[[], float] = time.monotonic,
) -> Iterator[ScoredSnippet | SnippetRejected]:
    """Score frames of any size with an rgb model; errors are those of `Client.score_stream`.

    Args:
        client: The daemon's client.
        model: The model to score them with.
        frames: The frames.
        group_size: Most frames in one message.
        priority: Which snippets the daemon runs first.
        sleep: Waits so many seconds.
        clock_s: A monotonic clock, seconds.

    Yields:
        One result per frame, in order but for frames that were sent again. A frame that
        the daemon had no room for is rejected only after PATIENCE_S without any scores.
    """
    unsent = _Unsent(model, frames)
    progress_s = clock_s()
    waits_s: list[float] = []
    sent: deque[Frame] = deque()

    def snippets() -> Iterator[NamedPixels]:
        while not waits_s and (frame := unsent.pop()) is not None:
            sent.append(frame)
            yield f"frame/{frame.index}", frame.bgr

    while True:
        stream = client.score_stream(model, snippets(), group_size=group_size, priority=priority)
        with closing(stream) as results:
            for result in results:
                frame = sent.popleft()
                if not isinstance(result, SnippetRejected):
                    progress_s = clock_s()
                    yield _to_scored(frame, result)
                elif result.retry_after_s is None or clock_s() - progress_s >= PATIENCE_S:
                    yield result
                else:
                    waits_s.append(result.retry_after_s)
                    unsent.put_back(frame)
        if not waits_s:
            return
        sleep(min(max(waits_s), MAX_WAIT_S))
        waits_s.clear()


def _to_scored(frame: Frame, result: SnippetScores) -> ScoredSnippet:
    return ScoredSnippet(
        snippet_id=result.snippet_id,
        frame_index=frame.index,
        time_s=frame.time_s,
        scores=result.scores,
        features=result.features,
        version=result.version,
    )


class _Unsent:
    """Frames to send, resized: first those that were put back, then new ones."""

    def __init__(self, model: ModelInfo, frames: Iterable[Frame]) -> None:
        self._model = model
        self._new = iter(frames)
        self._put_back: deque[Frame] = deque()

    def pop(self) -> Frame | None:
        """Take the next one; None when there is none."""
        if self._put_back:
            return self._put_back.popleft()
        frame = next(self._new, None)
        if frame is None:
            return None
        pixels = resize_bgr(frame.bgr, self._model.frame_width, self._model.frame_height)
        return replace(frame, bgr=pixels)

    def put_back(self, frame: Frame) -> None:
        """Have a frame sent again."""
        self._put_back.append(frame)
