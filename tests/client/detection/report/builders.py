"""A small video and reports of it."""

from pathlib import Path

import av
import numpy as np

from tsnd_client.detection import Detection
from tsnd_client.detection.report import Curve, EmbeddedVideo, Report

FRAMES_PER_S = 10
DURATION_S = 8.0
HOSTILE = '</title><script>alert(1)</script><img src="x" onerror="alert(2)">&amp;\'"'
FOUND = (
    Detection("clip", 1.0, 3.0, "GolfSwing", 0.9),
    Detection("clip", 2.0, 4.0, "GolfSwing", 0.4),
    Detection("clip", 5.0, 7.0, "High & Jump", 0.7),
)


def write_video(path: Path) -> Path:
    """Write eight seconds that grow from black to white: frame i has the grey value 3 i."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx", rate=FRAMES_PER_S)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(round(DURATION_S * FRAMES_PER_S)):
            picture = np.full((48, 64, 3), 3 * index, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def curve(name: str = "actionness") -> Curve:
    times_s = np.arange(0, DURATION_S, 0.2)
    return Curve(name, times_s, np.sin(times_s) ** 2)


def report(*, video: Path | None = None, title: str = "clip.webm", found=FOUND, **more) -> Report:
    player = EmbeddedVideo(video.read_bytes(), "video/webm") if video else None
    return Report(title, DURATION_S, tuple(found), video=player, **more)
