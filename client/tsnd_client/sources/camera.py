"""Cameras and network streams: the newest frames of what goes on, come what may.

A thread of its own decodes whatever comes, so that neither the network nor the camera waits
for us. Frames that nobody takes in time are dropped, the oldest first: what is yielded is
never older than the few that are kept. A connection that ends is made anew.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import takewhile

from tsnd_client.closing import Closing
from tsnd_client.errors import SourceLost, VideoError
from tsnd_client.sources.backoff import backoff_s
from tsnd_client.sources.base import Counters, Frame, require_stride
from tsnd_client.sources.pictures import DECODER_OPTIONS, av, decode, first_video_stream, to_bgr

DEFAULT_PATIENCE_S = 60.0
"""After so long without any frame, a source is given up."""

DEFAULT_FIRST_PATIENCE_S = 10.0
"""The same for a source that never gave one."""

_TIMEOUT_S = 5.0
# Packets are decoded as they come, and RTSP comes over TCP: over UDP, lost packets break frames.
_OPTIONS = {
    **DECODER_OPTIONS,
    # Frames begin to come after a second (it counts microseconds) or two frames, not after
    # the five seconds or twenty frames that FFmpeg looks at otherwise.
    "analyzeduration": "1000000",
    "fpsprobesize": "2",
    "flags": "low_delay",
    "rtsp_transport": "tcp",
}

_Shot = tuple[int, float, av.VideoFrame]  # number, seconds since the first one, picture


class LiveSource(Closing):
    """The frames of a camera or of a network stream; a `FrameSource`.

    Args:
        address: Anything that FFmpeg opens: rtsp://, http://, tcp://, udp://, srt://.
        format_name: FFmpeg's name of the format, where the address does not tell it.
        keep: Most frames that wait to be taken.
        patience_s: After how long without any frame it is given up; None: never.
        first_patience_s: The same before the first frame, when the address may be wrong.
        timeout_s: After how long without any data a connection is made anew.
        backoff: From failures in a row to seconds until the next try.
    """

    is_live = True

    def __init__(
        self,
        address: str,
        *,
        format_name: str | None = None,
        keep: int = 4,
        patience_s: float | None = DEFAULT_PATIENCE_S,
        first_patience_s: float | None = DEFAULT_FIRST_PATIENCE_S,
        timeout_s: float = _TIMEOUT_S,
        backoff: Callable[[int], float] = backoff_s,
    ) -> None:
        self.name = address
        self.counters = Counters()
        self.started_s: float | None = None
        """When the first frame came, by time.monotonic(); None before."""
        self._format_name = format_name
        self._patience_s = patience_s
        self._first_patience_s = first_patience_s
        self._timeout_s = timeout_s
        self._backoff = backoff
        self._shots: deque[_Shot] = deque(maxlen=keep)
        self._changed = threading.Condition()
        self._heard_s = math.inf
        self._error: Exception | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._capture, name="camera", daemon=True)

    def frames(self, stride: int = 1) -> Iterator[Frame]:
        """Yield frames as they come, until it is closed; see `FrameSource.frames`.

        The first call connects. Frames that are dropped keep their numbers, so a gap in them
        shows where that was.
        """
        require_stride(stride)
        with self._changed:
            if self._thread.ident is None and not self._stop.is_set():
                self._thread.start()
        due = 0
        while (shot := self._next(due)) is not None:
            number, time_s, picture = shot
            due = number + stride
            yield Frame(number, time_s, to_bgr(picture))

    def close(self) -> None:
        """End the connection; the thread notices within the timeout, which nobody waits for."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()

    def _next(self, due: int) -> _Shot | None:
        """Wait for the oldest frame kept whose number is at least `due`; None at the end."""
        with self._changed:
            while not self._stop.is_set():
                while self._shots:
                    shot = self._shots.popleft()
                    if shot[0] >= due:
                        return shot
                if self._error:
                    raise self._error
                self._changed.wait()
        return None

    def _capture(self) -> None:
        number, failures = 0, 0
        self._heard_s = time.monotonic()
        while not self._stop.is_set():
            reason = "it ended"
            try:
                for picture in self._connection(self._patience(number)):
                    failures, self._heard_s = 0, time.monotonic()
                    self._keep(number, self._heard_s, picture)
                    number += 1
            except VideoError as err:  # no picture will ever come of it
                self._fail(err)
                return
            except (av.FFmpegError, OSError) as err:
                reason = err.strerror or str(err)
            failures += 1
            wait_s = self._backoff(failures)
            silent_s = time.monotonic() - self._heard_s
            if silent_s + wait_s > self._patience(number):
                self._fail(self._lost(reason, silent_s, failures))
                return
            self._stop.wait(wait_s)
            self.counters.reconnects += bool(number)

    def _patience(self, frames: int) -> float:
        patience_s = self._patience_s if frames else self._first_patience_s
        return math.inf if patience_s is None else patience_s

    def _connection(self, patience_s: float) -> Iterator[av.VideoFrame]:
        with av.open(
            self.name,
            format=self._format_name,
            options=_OPTIONS,
            timeout=self._timeout_s,
            metadata_errors="replace",
        ) as container:
            stream = first_video_stream(self.name, container)
            stream.thread_type = "SLICE"  # with a thread per frame, frames come late
            packets = takewhile(lambda _: self._is_worth_it(patience_s), container.demux(stream))
            yield from decode(packets, self.counters.add_broken)

    def _is_worth_it(self, patience_s: float) -> bool:
        """Say whether to go on with packets, which may come without a picture in them."""
        return not self._stop.is_set() and time.monotonic() - self._heard_s <= patience_s

    def _keep(self, number: int, now_s: float, picture: av.VideoFrame) -> None:
        with self._changed:
            if self.started_s is None:
                self.started_s = now_s
            self.counters.dropped += len(self._shots) == self._shots.maxlen
            self._shots.append((number, now_s - self.started_s, picture))
            self._changed.notify_all()

    def _fail(self, error: Exception) -> None:
        with self._changed:
            self._error = error
            self._changed.notify_all()

    def _lost(self, reason: str, silent_s: float, failures: int) -> SourceLost:
        return SourceLost(
            f"{self.name} gave no frame for {silent_s:.0f} s, in {failures} tries; the last: "
            f"{reason}. Is it on, and is the address right?"
        )
