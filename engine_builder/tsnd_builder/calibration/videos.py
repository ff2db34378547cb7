"""Opens what `sources` found: the right kind of `Video` for a path and a modality."""

from collections.abc import Callable
from pathlib import Path

from tsnd_builder.calibration.flow import tv_l1
from tsnd_builder.calibration.image_folders import open_image_folder
from tsnd_builder.calibration.snippets import SnippetSpec, Video
from tsnd_builder.calibration.sources import Sources, is_folder
from tsnd_builder.calibration.video_files import FlowFile, RgbFile
from tsnd_builder.serving_graph import Modality


def require_decoders(sources: Sources, modality: Modality) -> None:
    """Refuse what no video is to blame for: flow to be computed by an OpenCV that cannot.

    Raises:
        CalibrationError: This is so.
    """
    if modality is Modality.FLOW and not all(map(is_folder, sources.paths)):
        tv_l1()


def open_video(path: Path, spec: SnippetSpec, report: Callable[[str], object]) -> Video:
    """Open one video.

    Args:
        path: A video file or a folder of images.
        spec: What its snippets are to be.
        report: Told what is left out, and what takes long.

    Raises:
        CalibrationError: A folder without the images that it takes.
    """
    if is_folder(path):
        return open_image_folder(path, spec)
    kind = FlowFile if spec.modality is Modality.FLOW else RgbFile
    return kind(path, spec, report)
