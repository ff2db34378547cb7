"""Detection while a video is still running: a state machine without clock, thread or I/O.

What the whole video would decide cannot be known before its end: proposals may stretch over all of
it, positions count in fractions of it, suppression compares all of it. So the last window of it
is treated as a video. When the window is full, what has its middle in the oldest part becomes
final, and the window moves on by one hop:

    |- context -|- hop -|------ what follows ------|
    |  finals from before, what is final now, what stays provisional
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tsnd_client.detection.arrays import Floats, as_matrix
from tsnd_client.detection.detection import Detection
from tsnd_client.detection.detector import Detector
from tsnd_client.errors import DetectionError


@dataclass(frozen=True, slots=True)
class OnlineSettings:
    """How much of the running video is kept, in frames.

    All but `refresh_frames` are multiples of both the frames between two ticks of SSN and of TAG.

    Attributes:
        window_frames: What is kept and searched: the longest time until a detection is final.
            A video that is not longer has the detections that it would have offline.
        hop_frames: How far the window moves.
        context_frames: What is kept of the time for which detections are final, so that an
            action that began then is seen as a whole.
        refresh_frames: After how many new frames provisional detections are found anew.

    Raises:
        DetectionError: A value makes no sense.
    """

    window_frames: int = 1800
    hop_frames: int = 300
    context_frames: int = 600
    refresh_frames: int = 30

    def __post_init__(self) -> None:
        if min(self.hop_frames, self.refresh_frames) < 1 or self.context_frames < 0:
            raise DetectionError(
                f"hop_frames and refresh_frames must be above 0, context_frames 0 or more: {self}."
            )
        if self.context_frames + self.hop_frames > self.window_frames:
            raise DetectionError(
                f"context_frames + hop_frames = {self.context_frames + self.hop_frames} must fit "
                f"into window_frames = {self.window_frames}."
            )


@dataclass(frozen=True, slots=True)
class Update:
    """What is known after new ticks.

    Attributes:
        final: Detections that became final just now; they never change or come again.
        provisional: What the window holds beyond all that is final; the next update replaces it.
    """

    final: tuple[Detection, ...]
    provisional: tuple[Detection, ...]


class OnlineDetector:
    """Finds the actions of one running video.

    A detection whose middle is at frame m is final at the latest when every modality has given
    all ticks up to frame m + `latency_bound_frames`.
    """

    def __init__(
        self,
        detector: Detector,
        settings: OnlineSettings,
        *,
        video_id: str,
        labels: Sequence[str],
        frames_per_s: float,
        actionness_modalities: int = 1,
    ) -> None:
        """Begin a video.

        Args:
            detector: What searches a window.
            settings: Of the window.
            video_id: Name of the video, for its detections.
            labels: Name of each class.
            frames_per_s: Frame rate of the video.
            actionness_modalities: How many modalities of actionness are fed.

        Raises:
            DetectionError: Window and ticks, labels and classes do not fit together.
        """
        intervals = (detector.settings.frame_interval, detector.tag.frame_interval)
        _require_whole_ticks(settings, intervals)
        if len(labels) != detector.settings.classes:
            raise DetectionError(
                f"got {len(labels)} labels, expected {detector.settings.classes}: one a class."
            )
        if not (math.isfinite(frames_per_s) and frames_per_s > 0):
            raise DetectionError(f"frames_per_s must be above 0, got {frames_per_s}.")
        self._detector = detector
        self._settings = settings
        self._video_id, self._labels, self._frames_per_s = video_id, labels, frames_per_s
        self._scores = [_Ticks(intervals[0], head.width) for head in detector.heads]
        self._actionness = [_Ticks(intervals[1], 2) for _ in range(actionness_modalities)]
        self._start = 0  # of the window, frame
        self._final_until = 0  # frame
        self._recent: list[Detection] = []  # final ones that reach into the window
        self._provisional: tuple[Detection, ...] = ()
        self._refreshed_at = 0  # frame
        self._finished = False

    @property
    def latency_bound_frames(self) -> int:
        """Frames after a detection's middle within which it becomes final: window and one tick."""
        return self._settings.window_frames + max(ticks.interval for ticks in self._all())

    @property
    def buffered_frames(self) -> int:
        """Frames whose ticks are kept: a window at most, where modalities keep pace."""
        return max(ticks.frames for ticks in self._all())

    def feed(self, scores: Sequence[npt.ArrayLike], actionness: Sequence[npt.ArrayLike]) -> Update:
        """Take the next ticks of each modality.

        Args:
            scores: Of each modality, [any number of ticks, width of its head].
            actionness: Of each modality, [any number of ticks, 2], background and action.

        Raises:
            DetectionError: The video was finished, a modality is missing, an array does not
                fit, or a number is not finite: then nothing was taken, and right ones can
                follow. Or one modality is more than a window ahead of another.
        """
        if self._finished:
            raise DetectionError(f"{self._video_id} is finished: begin another OnlineDetector.")
        self._append(scores, actionness)
        final: list[Detection] = []
        while min(ticks.frames for ticks in self._all()) > self._settings.window_frames:
            final += self._advance()
        if self.buffered_frames > 2 * self._settings.window_frames:
            raise DetectionError(
                f"{self._video_id}: one modality is more than {self._settings.window_frames} "
                "frames ahead of another. Feed all of them at the same pace."
            )
        self._refresh()
        return Update(tuple(final), self._provisional)

    def finish(self, frames: int | None = None) -> Update:
        """End the video; what is left becomes final.

        Args:
            frames: Frames of the whole video; None is as many as the ticks reach over.

        Returns:
            The last update, without provisional detections; an empty one if nothing was fed.

        Raises:
            DetectionError: A modality has no tick, or `frames` ends before the window.
        """
        self._finished, self._provisional = True, ()
        if not self.buffered_frames:
            return Update((), ())
        length = self.buffered_frames if frames is None else frames - self._start
        return Update(tuple(self._search(length)), ())

    def _append(self, scores: Sequence[npt.ArrayLike], actionness: Sequence[npt.ArrayLike]) -> None:
        if (len(scores), len(actionness)) != (len(self._scores), len(self._actionness)):
            raise DetectionError(
                f"got {len(scores)} modalities of scores and {len(actionness)} of actionness, "
                f"expected {len(self._scores)} and {len(self._actionness)}."
            )
        arrays = [
            as_matrix(rows, "outputs of ticks", columns=ticks.columns)
            for ticks, rows in zip(self._all(), (*scores, *actionness), strict=True)
        ]
        for ticks, array in zip(self._all(), arrays, strict=True):
            ticks.append(array)

    def _advance(self) -> list[Detection]:
        """Make final what is old enough, and move the window."""
        until = self._start + self._settings.context_frames + self._settings.hop_frames
        final = self._search(self._settings.window_frames, until=until)
        for ticks in self._all():
            ticks.drop(self._settings.hop_frames)
        self._start += self._settings.hop_frames
        self._final_until = until
        start_s = self._start / self._frames_per_s
        self._recent = [one for one in (*self._recent, *final) if one.end_s > start_s]
        self._refreshed_at = 0
        return final

    def _refresh(self) -> None:
        common = min(ticks.frames for ticks in self._all())
        if common and self._start + common >= self._refreshed_at + self._settings.refresh_frames:
            self._refreshed_at = self._start + common
            self._provisional = tuple(self._search(common))

    def _search(self, length: int, *, until: float = math.inf) -> list[Detection]:
        """Find what is in the first frames of the window and neither final nor after `until`."""
        proposals = self._detector.propose(
            [ticks.first(length) for ticks in self._actionness], length
        )
        found = self._detector.detect(
            [ticks.first(length) for ticks in self._scores], proposals, length
        ).to_detections(self._video_id, length / self._frames_per_s, self._labels)
        return [one for one in map(self._placed, found) if self._is_new(one, until)]

    def _placed(self, in_window: Detection) -> Detection:
        offset_s = self._start / self._frames_per_s
        return replace(
            in_window, start_s=in_window.start_s + offset_s, end_s=in_window.end_s + offset_s
        )

    def _is_new(self, found: Detection, until: float) -> bool:
        middle = (found.start_s + found.end_s) / 2 * self._frames_per_s
        threshold = self._detector.settings.nms_threshold
        return self._final_until <= middle < until and not any(
            _overlap(found, final) > threshold
            for final in self._recent
            if final.label == found.label
        )

    def _all(self) -> list["_Ticks"]:
        return [*self._scores, *self._actionness]


class _Ticks:
    """The ticks of one modality in the window."""

    def __init__(self, interval: int, columns: int) -> None:
        self.interval, self.columns = interval, columns
        self._rows: Floats = np.empty((0, columns))

    @property
    def frames(self) -> int:
        """Frames that the ticks reach over."""
        return len(self._rows) * self.interval

    def append(self, rows: Floats) -> None:
        self._rows = np.concatenate([self._rows, rows])

    def first(self, frames: int) -> Floats:
        """Ticks of the first frames, one that is begun included."""
        return self._rows[: math.ceil(frames / self.interval)]

    def drop(self, frames: int) -> None:
        self._rows = self._rows[frames // self.interval :].copy()


def _overlap(one: Detection, other: Detection) -> float:
    """Intersection over union; negative where they do not meet, 0 where neither lasts."""
    shared = min(one.end_s, other.end_s) - max(one.start_s, other.start_s)
    union = (one.end_s - one.start_s) + (other.end_s - other.start_s) - shared
    return shared / union if union > 0 else 0.0


def _require_whole_ticks(settings: OnlineSettings, intervals: tuple[int, int]) -> None:
    for name in ("window_frames", "hop_frames", "context_frames"):
        value = getattr(settings, name)
        if any(value % interval for interval in intervals):
            raise DetectionError(
                f"{name} = {value} must be a multiple of {intervals[0]} and {intervals[1]}, the "
                "frames from one tick to the next of SSN and of TAG."
            )
