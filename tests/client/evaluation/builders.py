"""Small evaluations for tests."""

from collections.abc import Iterable

from tsnd_client.detection.detection import Detection
from tsnd_client.evaluation import Annotation, GroundTruth, Unit, to_ground_truth


def truth_of(
    *rows: tuple[str, str, float, float], labels: Iterable[str] | None = None
) -> GroundTruth:
    """Rows are video, label, start, end; seconds."""
    return to_ground_truth(
        [Annotation(*row) for row in rows],
        labels,
        unit=Unit.SECONDS,
        durations_s={},
        left_out={},
        source="the test",
    )


def found(*rows: tuple[str, str, float, float, float]) -> list[Detection]:
    """Rows are video, label, start, end, score; seconds."""
    return [
        Detection(video_id=video, label=label, start_s=start, end_s=end, score=score)
        for video, label, start, end, score in rows
    ]
