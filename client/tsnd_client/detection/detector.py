"""The whole way: from the outputs of ticks to the detections of a video."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tsnd_client.detection.actionness import merge_actionness
from tsnd_client.detection.head import Head
from tsnd_client.detection.pooling import pool_proposals
from tsnd_client.detection.proposals import relative_proposals
from tsnd_client.detection.scores import fuse, normalised_weights
from tsnd_client.detection.select import Selection, select
from tsnd_client.detection.settings import SsnSettings
from tsnd_client.detection.tag import TagSettings, propose
from tsnd_client.errors import DetectionError


@dataclass(frozen=True, slots=True)
class Detector:
    """Settings of all steps, which they fit.

    Attributes:
        settings: Of SSN, for the data set.
        heads: What the outputs of each modality's ticks mean.
        weights: Of the modalities; None weighs all alike.
        tag: Settings of the proposals.
        actionness_weights: Of the modalities of actionness, not normalised; None is 1 for all.

    Raises:
        DetectionError: There is no head, or one is for other classes or parts than the settings;
            or the weights do not fit.
    """

    settings: SsnSettings
    heads: tuple[Head, ...]
    weights: tuple[float, ...] | None = None
    tag: TagSettings = field(default_factory=TagSettings)
    actionness_weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not self.heads:
            raise DetectionError("a detector needs the head of at least one modality, got none.")
        normalised_weights(self.weights, len(self.heads))  # raises where they do not fit
        for head in self.heads:
            if (head.classes, head.pyramid) != (self.settings.classes, self.settings.pyramid):
                raise DetectionError(
                    f"a head has {head.classes} classes and {head.pyramid}, the settings have "
                    f"{self.settings.classes} and {self.settings.pyramid}: expected the same."
                )

    def propose(self, actionness: Sequence[npt.ArrayLike], frames: int) -> npt.NDArray[np.int64]:
        """Find proposals by TAG.

        Args:
            actionness: Of each modality, see `merge_actionness`.
            frames: Frames of the video.

        Returns:
            int64 [n, 2] in frames, the best first.

        Raises:
            DetectionError: The actionness cannot be used.
        """
        merged = merge_actionness(actionness, self.actionness_weights)
        return propose(merged, self.tag).to_frames(frames)

    def detect(
        self,
        outputs: Sequence[npt.ArrayLike],
        proposals: npt.ArrayLike,
        frames: int,
        *,
        class_scores: npt.ArrayLike | None = None,
    ) -> Selection:
        """Find actions among proposals.

        Args:
            outputs: Of each modality, [T, width of its head], see `pool_proposals`; modalities
                may differ in T.
            proposals: [n, 2] in frames; those that are of no use are left out, see
                `usable_proposals`.
            frames: Frames of the video.
            class_scores: [K], what a classifier says about the whole video, see `select`.

        Returns:
            The detections; none where no proposal is usable.

        Raises:
            DetectionError: A modality is missing or has no tick, or something does not fit.
        """
        if len(outputs) != len(self.heads):
            raise DetectionError(
                f"got the outputs of {len(outputs)} modalities, expected {len(self.heads)}: one "
                "for each head."
            )
        relative = relative_proposals(proposals, frames)
        streams = [
            pool_proposals(rows, relative, head)
            for rows, head in zip(outputs, self.heads, strict=True)
        ]
        return select(fuse(streams, self.weights), self.settings, class_scores=class_scores)
