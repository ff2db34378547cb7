"""How SSN turns scores into detections, for each data set as its authors evaluated it."""

import math
from dataclasses import dataclass, field

from tsnd_client.detection.pyramid import Pyramid
from tsnd_client.errors import DetectionError

THUMOS14_LABELS = (
    "BaseballPitch",
    "BasketballDunk",
    "Billiards",
    "CleanAndJerk",
    "CliffDiving",
    "CricketBowling",
    "CricketShot",
    "Diving",
    "FrisbeeCatch",
    "GolfSwing",
    "HammerThrow",
    "HighJump",
    "JavelinThrow",
    "LongJump",
    "PoleVault",
    "Shotput",
    "SoccerPenalty",
    "TennisSwing",
    "ThrowDiscus",
    "VolleyballSpiking",
)


@dataclass(frozen=True, slots=True)
class SsnSettings:
    """Settings of SSN for a data set (`data/dataset_cfg.yaml`).

    Attributes:
        classes: K, without the background.
        pyramid: Of the network's head.
        frame_interval: Frames from one tick to the next.
        top_k: How many pairs of proposal and class to keep of a video, the best; None keeps
            all, and counts the background when activity becomes a probability. Not used where a
            classifier of whole videos chooses classes.
        nms_threshold: Largest intersection over union of two detections of a class, measured
            before regression.
        class_top_k: How many classes of a video to keep where a classifier chooses.
        softmax_before_filter: Whether activity becomes a probability where a classifier
            chooses classes; otherwise it enters as it is.
        use_regression: Whether proposals are moved to where regression says.

    Raises:
        DetectionError: A value makes no sense; the message says which would.
    """

    classes: int
    pyramid: Pyramid = field(default_factory=Pyramid)
    frame_interval: int = 6
    top_k: int | None = 2000
    nms_threshold: float = 0.2
    class_top_k: int = 1
    softmax_before_filter: bool = True
    use_regression: bool = True

    def __post_init__(self) -> None:
        for name in ("classes", "frame_interval", "class_top_k"):
            if getattr(self, name) < 1:
                raise DetectionError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.top_k is not None and self.top_k < 1:
            raise DetectionError(f"top_k must be at least 1, or None for all, got {self.top_k}.")
        if not (math.isfinite(self.nms_threshold) and 0 <= self.nms_threshold <= 1):
            raise DetectionError(
                f"nms_threshold must be from 0 to 1, got {self.nms_threshold}: it is an "
                "intersection over union."
            )


THUMOS14 = SsnSettings(classes=20)
ACTIVITYNET12 = SsnSettings(classes=100, top_k=60, nms_threshold=0.6, softmax_before_filter=False)

_DATA_SETS = {"thumos14": THUMOS14, "activitynet1.2": ACTIVITYNET12}


def settings_of(data_set: str) -> SsnSettings:
    """Look the settings of a data set up.

    Args:
        data_set: thumos14 or activitynet1.2.

    Raises:
        DetectionError: There are none of that name.
    """
    if data_set not in _DATA_SETS:
        raise DetectionError(
            f"there are no settings for {data_set!r}: expected one of {', '.join(_DATA_SETS)}. "
            "Build SsnSettings for another data set."
        )
    return _DATA_SETS[data_set]
