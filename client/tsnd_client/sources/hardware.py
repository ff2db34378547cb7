"""Decoding by a device, where the machine has one that takes the codec, else by the processor.

The pictures are the same: decoders are bound to the bit by their standards, and `to_bgr` takes
the device's layout apart before it turns it into colours.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, BinaryIO

from tsnd_client.sources.pictures import av

if TYPE_CHECKING:
    from av.container import InputContainer


class Nameless:
    """An open file, less its name; PyAV asks for no more than these."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


@contextmanager
def open_container(
    file: BinaryIO, options: dict[str, str], *, hardware: bool, buffer_bytes: int = 1024 * 1024
) -> Iterator["InputContainer"]:
    """Open a file for decoding.

    Args:
        file: At its start, and seekable.
        options: FFmpeg's, for the container and its streams.
        hardware: Whether to look for a device.
        buffer_bytes: How much is read at a time.

    Raises:
        av.FFmpegError: It is no video, or cannot be read.
    """
    for device in _devices() if hardware else ():
        try:
            container = av.open(
                Nameless(file),
                "r",
                options=options,
                buffer_size=buffer_bytes,
                metadata_errors="replace",
                hwaccel=av.codec.hwaccel.HWAccel(device, allow_software_fallback=True),
            )
        except av.FFmpegError:  # no such device, or the file's fault, which comes up again below
            file.seek(0)
            continue
        with container:
            streams = container.streams.video
            # Of a codec that is not known, there is no context.
            if any(getattr(stream.codec_context, "is_hwaccel", False) for stream in streams):
                yield container
                return
        file.seek(0)
    with av.open(
        Nameless(file),
        "r",
        options=options,
        buffer_size=buffer_bytes,
        metadata_errors="replace",  # a title in some old encoding is no reason to stop
    ) as container:
        yield container


@cache
def _devices() -> tuple[str, ...]:
    """Name the kinds of devices that this FFmpeg could use, NVIDIA's first."""
    return tuple(
        sorted(av.codec.hwaccel.hwdevices_available(), key=lambda name: (name != "cuda", name))
    )
