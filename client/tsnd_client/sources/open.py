"""Chooses the source that a name stands for.

clip.mp4                        a video file
frames/clip                     a folder of img_*.jpg, of dense_flow or denseflow
rtsp://camera/stream            a network stream, live: rtsp, rtmp, http, tcp, udp, srt, ...
/dev/video0                     a camera of this machine, live
- or pipe:                      JPEGs on the standard input
pipe:640x480[,FORMAT][@RATE]    raw pixels on the standard input
"""

import stat
import sys
from io import BufferedReader
from pathlib import Path

from tsnd_client.errors import InputError
from tsnd_client.sources.base import FrameSource, StoredSource
from tsnd_client.sources.camera import LiveSource
from tsnd_client.sources.folder import FrameFolder
from tsnd_client.sources.pipe import PipeSource, parse_layout
from tsnd_client.sources.video_file import VideoFile


def open_source(
    name: str | Path, *, hardware: bool = False, stdin: BufferedReader | None = None
) -> FrameSource:
    """Open whatever a name stands for; see this file's head.

    Args:
        name: The name.
        hardware: Whether video files are decoded with a device, where the machine has one.
        stdin: What is read instead of the standard input.

    Raises:
        InputError: A pipe's frames are not described as they should be.
        VideoError: A folder that cannot be used. Files and addresses are opened when
            frames are asked for.
    """
    text = str(name)
    if text == "-" or text.startswith("pipe:"):
        layout = text.removeprefix("-").removeprefix("pipe:")
        pipe = stdin or _standard_input()
        return PipeSource(pipe, parse_layout(layout) if layout else None, text)
    if "://" in text:
        return LiveSource(text)
    if _is_device(Path(name)):
        return LiveSource(text, format_name="v4l2")
    return open_stored(name, hardware=hardware)


def open_stored(name: str | Path, *, hardware: bool = False) -> StoredSource:
    """Open a video file or a folder of frames, any frame of which can be read at any time.

    Args:
        name: Path of the file or folder.
        hardware: Whether a file is decoded with a device, where the machine has one.

    Raises:
        InputError: The name stands for a camera, an address or a pipe.
        VideoError: A folder that cannot be used. A file is opened when frames are asked for.
    """
    text, path = str(name), Path(name)
    if text == "-" or text.startswith("pipe:") or "://" in text or _is_device(path):
        raise InputError(
            f"{text} gives its frames once, as they come, but this needs to choose among them. "
            "Record it, and name the file."
        )
    return FrameFolder(path) if path.is_dir() else VideoFile(path, hardware=hardware)


def _is_device(path: Path) -> bool:
    try:
        return stat.S_ISCHR(path.stat().st_mode)
    except (OSError, ValueError):  # ValueError: a null character in the name
        return False


def _standard_input() -> BufferedReader:
    if not isinstance(sys.stdin.buffer, BufferedReader):
        raise InputError("the standard input is no stream of bytes. Pipe frames into it.")
    return sys.stdin.buffer
