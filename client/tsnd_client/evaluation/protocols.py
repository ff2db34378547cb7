"""What each data set is evaluated by, and what was published on it."""

from dataclasses import dataclass

import numpy as np

from tsnd_client.detection.settings import THUMOS14_LABELS


@dataclass(frozen=True, slots=True)
class PublishedResult:
    """One published number.

    Attributes:
        network: Backbone and what it was pretrained on.
        rgb: Percent, RGB alone.
        flow: Percent, flow alone.
        both: Percent, both streams.
    """

    network: str
    rgb: float
    flow: float
    both: float


@dataclass(frozen=True, slots=True)
class Protocol:
    """How detections on a data set are judged.

    Attributes:
        dataset: Its name on the command line.
        thresholds: Temporal IoUs at which mAP is computed.
        headline: The threshold whose mAP is quoted; None where it is the average.
        subset: The part of the data set that results are reported on.
        labels: Class names in the order of training, where the data set fixes them.
        proposals_per_video: Where the curve of AR@AN ends.
        published: Results of SSN, from the README of its code.
    """

    dataset: str
    thresholds: tuple[float, ...]
    headline: float | None
    subset: str
    labels: tuple[str, ...] | None
    proposals_per_video: float
    published: tuple[PublishedResult, ...]

    @property
    def headline_name(self) -> str:
        """What the published numbers are."""
        return "average mAP" if self.headline is None else f"mAP@{self.headline:.2g}"


# Sums of steps, as in the original: 0.30000000000000004 is not 0.3, and spans can lie between.
_THUMOS = tuple(np.arange(0.1, 1.0, 0.1).tolist())
_ACTIVITYNET = tuple(np.arange(0.5, 1.0, 0.05).tolist())

_PROTOCOLS = (
    Protocol(
        dataset="thumos14",
        thresholds=_THUMOS,
        headline=0.5,
        subset="test",
        labels=THUMOS14_LABELS,
        proposals_per_video=100,
        published=(
            PublishedResult("BN-Inception, ImageNet", 16.18, 22.50, 27.36),
            PublishedResult("BN-Inception, Kinetics", 21.31, 27.93, 32.50),
            PublishedResult("Inception V3, ImageNet", 18.28, 23.30, 28.00),
            PublishedResult("Inception V3, Kinetics", 22.12, 30.51, 33.15),
        ),
    ),
    Protocol(
        dataset="activitynet1.2",
        thresholds=_ACTIVITYNET,
        headline=None,
        subset="validation",
        labels=None,
        proposals_per_video=100,
        published=(
            PublishedResult("BN-Inception, ImageNet", 24.85, 21.69, 26.75),
            PublishedResult("BN-Inception, Kinetics", 27.53, 28.00, 28.57),
            PublishedResult("Inception V3, ImageNet", 25.75, 22.44, 27.82),
        ),
    ),
    Protocol(
        dataset="activitynet1.3",
        thresholds=_ACTIVITYNET,
        headline=None,
        subset="validation",
        labels=None,
        proposals_per_video=100,
        published=(),
    ),
)

PROTOCOLS = {protocol.dataset: protocol for protocol in _PROTOCOLS}
