"""What temporal action detection answers with; evaluations and reports take the same value."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Detection:
    """One action, found in one video.

    Attributes:
        video_id: The video.
        start_s: Where the action begins, seconds from the start of the video.
        end_s: Where it ends, seconds; not before it begins.
        label: Name of its class.
        score: How sure the detector is, comparable within a class; any finite number.
    """

    video_id: str
    start_s: float
    end_s: float
    label: str
    score: float
