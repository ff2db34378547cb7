"""What finding actions in videos needs to be told, and what fits together of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tsnd_client.detection.detector import Detector
from tsnd_client.detection.head import Head, RegressionStatistics
from tsnd_client.detection.settings import SsnSettings
from tsnd_client.errors import InputError, VideoError
from tsnd_client.model_info import Modality, ModelInfo
from tsnd_client.videos.snippet import ScoredVideo


@dataclass(frozen=True, slots=True)
class Networks:
    """Models at a daemon, and where in what they return is what.

    Attributes:
        rgb: Name of SSN's rgb model, or of a pair.
        flow: Name of SSN's flow model, or of a pair.
        actionness: Name of TAG's model, or of a pair; None proposes sliding windows.
        head: SSN's output, as `Head` describes it.
        actionness_head: The output of actionness: background, action.
    """

    rgb: str | None = None
    flow: str | None = None
    actionness: str | None = None
    head: str = "ssn"
    actionness_head: str = "scores"


@dataclass(frozen=True, slots=True)
class Task:
    """How to find actions.

    Attributes:
        settings: Of SSN.
        labels: Name of each class.
        statistics: How regression was normalised, by modality; not used without regression.
        weights: Of rgb and flow.
        frames_per_s: Of videos that do not say.
    """

    settings: SsnSettings
    labels: Sequence[str]
    statistics: Mapping[str, RegressionStatistics]
    weights: tuple[float, float] = (1.0, 1.0)
    frames_per_s: float | None = None

    def duration_s(self, video: ScoredVideo) -> float:
        """Say how long a video is, seconds.

        Raises:
            VideoError: Nobody knows its frame rate.
        """
        rate = video.frames_per_s or self.frames_per_s
        if not rate:
            raise VideoError(f"{video.name} does not say its frame rate: give --fps.")
        return video.images / rate

    def detector_for(self, models: Mapping[Modality, ModelInfo], head: str) -> Detector:
        """Put the detector together that fits the models.

        Raises:
            InputError: A model lacks the output, or it is of another width; or statistics are
                missing.
        """
        both = {Modality.RGB: self.weights[0], Modality.FLOW: self.weights[1]}
        return Detector(
            self.settings,
            heads=tuple(self._head(model, head) for model in models.values()),
            weights=tuple(both[modality] for modality in models),
        )

    def _head(self, model: ModelInfo, output: str) -> Head:
        width = output_width(model, output)
        plain = Head(self.settings.classes, self.settings.pyramid, None)
        if width == plain.width and not self.settings.use_regression:
            return plain
        statistics = self.statistics.get(model.modality)
        if statistics is None and self.settings.use_regression:
            raise InputError(f"there are no regression statistics of {model.modality}.")
        head = Head(plain.classes, plain.pyramid, statistics or RegressionStatistics())
        if width != head.width:
            raise InputError(
                f"output {output!r} of model {model.name!r} has {width} numbers, expected "
                f"{head.width} for {head.classes} classes. Name another output with --head, or "
                "the data set of the network with --config."
            )
        return head


def output_width(model: ModelInfo, output: str) -> int:
    """Say how many numbers an output of a model has.

    Raises:
        InputError: The model has no such output.
    """
    shapes = {one.name: one.shape for one in model.outputs}
    if len(shapes.get(output, ())) != 1:
        raise InputError(
            f"model {model.name!r} has no output {output!r} that is a row of numbers, only "
            f"{', '.join(shapes)}. `tsn-build convert --head` adds one to a package."
        )
    return int(shapes[output][0])
