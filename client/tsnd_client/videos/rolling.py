"""What a live video shows now: the scores of its last seconds, averaged and fused. No threads."""

from collections import deque

from tsnd_client.consensus import mean_over_snippets
from tsnd_client.fusion import FusionWeights, Scores, VideoScores, fuse
from tsnd_client.model_info import Modality


class RollingScores:
    """Scores of the last seconds; older ones are forgotten, whichever modality they are of."""

    def __init__(
        self,
        modalities: tuple[Modality, ...],
        window_s: float,
        weights: FusionWeights | None = None,
    ) -> None:
        """Begin without scores.

        Args:
            modalities: Those that are asked for; one without scores in the window is missing.
            window_s: How far back scores count, seconds.
            weights: Of the modalities; equal ones by default.
        """
        self._window_s = window_s
        self._weights = weights or FusionWeights()
        self._scores: dict[Modality, deque[tuple[float, Scores]]] = {
            modality: deque() for modality in modalities
        }
        self._newest_s = float("-inf")

    def add(self, modality: Modality, time_s: float, scores: Scores) -> VideoScores:
        """Take a snippet's scores, and say what the window shows with them.

        Args:
            modality: What it was made of.
            time_s: When it was shown, seconds from any fixed moment.
            scores: float32 [classes], before softmax.
        """
        self._scores[modality].append((time_s, scores))
        self._newest_s = max(self._newest_s, time_s)
        for each in self._scores.values():
            while each and each[0][0] < self._newest_s - self._window_s:
                each.popleft()
        return fuse(
            {
                which: mean_over_snippets([entry for _, entry in each]) if each else None
                for which, each in self._scores.items()
            },
            self._weights,
        )
