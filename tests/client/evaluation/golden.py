"""Cases that the original code computed: folders beside the checkout, where there are any."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tsnd_client.detection.detection import Detection
from tsnd_client.evaluation import ListedInstance, ListedVideo

GOLDEN = Path(__file__).resolve().parents[4] / "shared" / "golden" / "ssn"
# Equal values are left to NumPy's unstable sort, which is another on another kind of CPU.
SORTS_AS_THERE = np.argsort([0.1, 0.5, 0.5, 0.5, 0.2]).tolist() == [0, 4, 2, 1, 3]
PRECISION_TOLERANCE = 1e-6 if SORTS_AS_THERE else 6e-3
EVALUATION = GOLDEN / "ssn_eval"
TAG = GOLDEN / "tag"


@dataclass(frozen=True, slots=True)
class Case:
    """Final detections of one run of the original, and what it made of them."""

    dataset: str
    run: str
    path: Path

    def __str__(self):
        return f"{self.dataset}-{self.run}"

    @property
    def expected(self):
        return json.loads((EVALUATION / "results.json").read_text())[f"{self.dataset}_{self.run}"]

    def detections(self) -> list[Detection]:
        """In fractions of the videos; the class is named by its number in the list, from 1."""
        arrays = np.load(self.path)
        videos = self.scored_videos()
        return [
            Detection(videos[video], float(span[0]), float(span[1]), str(label + 1), float(score))
            for video, label, span, score in zip(
                arrays["video"], arrays["cls"], arrays["span"], arrays["score"], strict=True
            )
        ]

    def proposal_list(self) -> list[ListedVideo]:
        arrays = np.load(EVALUATION / f"{self.dataset}_proposals.npz")
        ends = np.cumsum(arrays["n_gt"])
        return [
            ListedVideo(
                video_id=name(path),
                frames=int(frames),
                instances=tuple(
                    ListedInstance(*map(int, row)) for row in arrays["gt"][end - count : end]
                ),
                proposals=(),
            )
            for path, frames, count, end in zip(
                arrays["video"], arrays["frames"], arrays["n_gt"], ends, strict=True
            )
        ]

    def scored_videos(self) -> list[str]:
        scores = sorted(EVALUATION.glob(f"{self.dataset}_scores*.npz"))[0]
        return [name(path) for path in np.load(scores)["vid"]]


def name(path: str) -> str:
    return Path(str(path)).stem


def cases() -> list[Case]:
    """Every file of detections that is there."""
    found = []
    for path in sorted(EVALUATION.glob("*_detections_*.npz")):
        dataset, _, run = path.stem.partition("_detections_")
        found.append(Case(dataset, run, path))
    return found
