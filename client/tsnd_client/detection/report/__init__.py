"""A page about the detections of a video: one HTML file that needs nothing beside it.

`render` is a pure function of a `Report`. What is read from the video file is in `build` and
`stills`, which need the extra tsnd[video].
"""

from tsnd_client.detection.report.page import render, write_report
from tsnd_client.detection.report.values import Curve, EmbeddedVideo, LinkedVideo, Report

__all__ = ["Curve", "EmbeddedVideo", "LinkedVideo", "Report", "render", "write_report"]
