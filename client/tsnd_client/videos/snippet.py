"""What passes between the reading of videos and their scoring: plain values."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tsnd_client.errors import ClientError
from tsnd_client.jpeg import Jpeg
from tsnd_client.model_info import Modality


@dataclass(frozen=True, slots=True, eq=False)
class Snippet:
    """Pixels to score, and where in their video they are.

    Attributes:
        modality: What it is made of.
        tick: Its first image or flow field, from 1.
        pixels: uint8 as the model takes them: rgb [H, W, 3], flow [2 * depth, H, W].
    """

    modality: Modality
    tick: int
    pixels: npt.NDArray[np.uint8] | Jpeg


@dataclass(frozen=True, slots=True)
class Reading:
    """A video that was opened: which snippets it will give, and they themselves.

    Attributes:
        images: How many images the video has in dense_flow's numbering: its frames but one.
        frames_per_s: Its average frame rate; 0 when it does not say.
        ticks: By modality, the ticks to score, in order; the same one may be there repeatedly.
        snippets: Gives each of those ticks, of which there is at least one, once, in any order.
            What it holds open is closed with it.
    """

    images: int
    frames_per_s: float
    ticks: Mapping[Modality, Sequence[int]]
    snippets: Iterator[Snippet]

    @property
    def wanted(self) -> int:
        """How many snippets there are to score."""
        return sum(len(set(ticks)) for ticks in self.ticks.values())


@dataclass(frozen=True, slots=True)
class VideoJob:
    """A video to score.

    Attributes:
        name: What it is called in outcomes and messages.
        open: Opens it; raises ClientError when it cannot be used.
    """

    name: str
    open: Callable[[], Reading]


@dataclass(frozen=True, slots=True, eq=False)
class StreamOutputs:
    """What one model returned for a video.

    Attributes:
        ticks: int64 [S], as asked for.
        outputs: float32 [S, ...] by name, such as scores and features.
        versions: Versions of the model that scored it, in order; more than one when another
            was rolled out meanwhile.
    """

    ticks: npt.NDArray[np.int64]
    outputs: Mapping[str, npt.NDArray[np.float32]]
    versions: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ScoredVideo:
    """A video of which all snippets are scored.

    Attributes:
        place: The job's among all, from 0.
        name: The job's.
        images: As in `Reading`.
        frames_per_s: As in `Reading`.
        streams: By modality; one for which the video had no snippet is absent.
    """

    place: int
    name: str
    images: int
    frames_per_s: float
    streams: Mapping[Modality, StreamOutputs]


@dataclass(frozen=True, slots=True)
class FailedVideo:
    """A video that gave no result.

    Attributes:
        place: The job's among all, from 0.
        name: The job's.
        error: Why.
    """

    place: int
    name: str
    error: ClientError


Outcome = ScoredVideo | FailedVideo
