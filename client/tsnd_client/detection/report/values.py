"""What a report shows."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from tsnd_client.detection.detection import Detection
from tsnd_client.errors import ReportError


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """A value over time.

    Attributes:
        name: A class, or another name such as "actionness".
        times_s: float64 [T], seconds, rising.
        values: float64 [T], from 0 to 1; what is outside is drawn at the edge.

    Raises:
        ReportError: Lengths differ, a value is not finite, or times fall.
    """

    name: str
    times_s: npt.NDArray[np.float64]
    values: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.times_s.ndim != 1 or self.times_s.shape != self.values.shape:
            raise ReportError(
                f"curve {self.name!r}: expected as many times as values, got shapes "
                f"{self.times_s.shape} and {self.values.shape}."
            )
        if not (np.isfinite(self.times_s).all() and np.isfinite(self.values).all()):
            raise ReportError(f"curve {self.name!r}: a time or a value is not a finite number.")
        if (np.diff(self.times_s) < 0).any():
            raise ReportError(f"curve {self.name!r}: expected rising times.")


@dataclass(frozen=True, slots=True)
class EmbeddedVideo:
    """A video inside the page.

    Attributes:
        content: The whole file.
        media_type: Such as "video/mp4".
    """

    content: bytes = field(repr=False)
    media_type: str


@dataclass(frozen=True, slots=True)
class LinkedVideo:
    """A video that stays where it is, for files too large for a page.

    Attributes:
        path: Its path as seen from the folder of the page.
    """

    path: PurePosixPath

    @property
    def url(self) -> str:
        """The path as a URL; "./" keeps a name like "data:x" from being more than a name."""
        path = quote(str(self.path))
        return path if self.path.is_absolute() else f"./{path}"


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """Everything that a page shows.

    Attributes:
        title: Usually the name of the video.
        duration_s: Its length, seconds.
        detections: In any order.
        curves: Drawn in their order; that of a class beside its detections.
        stills: JPEG files by place in `detections`.
        video: What to play; None for a page without.

    Raises:
        ReportError: The duration, or a detection, is not one.
    """

    title: str
    duration_s: float
    detections: tuple[Detection, ...]
    curves: tuple[Curve, ...] = ()
    stills: Mapping[int, bytes] = field(default_factory=dict)
    video: EmbeddedVideo | LinkedVideo | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.duration_s) and self.duration_s > 0):
            raise ReportError(
                f"expected the seconds that the video lasts, above 0, got {self.duration_s}."
            )
        for detection in self.detections:
            values = (detection.start_s, detection.end_s, detection.score)
            if not all(map(math.isfinite, values)) or detection.end_s < detection.start_s:
                raise ReportError(
                    f"expected finite numbers and an end after the start, got start "
                    f"{detection.start_s}, end {detection.end_s}, score {detection.score}."
                )

    def labels(self) -> tuple[str, ...]:
        """Classes that have detections, that of the best score first."""
        best: dict[str, float] = {}
        for detection in self.detections:
            best[detection.label] = max(detection.score, best.get(detection.label, -math.inf))
        return tuple(sorted(best, key=lambda label: (-best[label], label)))
