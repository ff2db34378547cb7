"""Writes small videos of every kind with PyAV: frame i has a moving pattern that names it."""

from fractions import Fraction

import av
import numpy as np


def picture_of(index, width=64, height=48):
    """Smooth blocks that differ from frame to frame: uint8 [height, width, 3]."""
    blocks = np.random.default_rng(index).integers(0, 256, (3, 4, 3), np.uint8)
    tall = blocks.repeat(-(-height // 3), axis=0).repeat(-(-width // 4), axis=1)
    return np.ascontiguousarray(tall[:height, :width])


def write_video(
    path,
    *,
    codec="libx264",
    frames=60,
    size=(64, 48),
    pix_fmt="yuv420p",
    options=None,
    stamps=None,
    rotation=None,
    container_options=None,
    audio=False,
):
    """Write `frames` pictures at 25 a second, or at the time stamps given (1/1000 s)."""
    width, height = size
    base = Fraction(1, 1000) if stamps else Fraction(1, 25)
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.time_base = stream.codec_context.time_base = base
        if rotation is not None:
            stream.set_display_rotation(rotation)
        if audio:
            sound_stream = container.add_stream("aac", rate=44100)
        for index in range(frames):
            picture = av.VideoFrame.from_ndarray(picture_of(index, width, height), format="bgr24")
            picture.pts, picture.time_base = (stamps[index] if stamps else index), base
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
        if audio:
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            sound.sample_rate = 44100
            container.mux(sound_stream.encode(sound))
            container.mux(sound_stream.encode())
    return path


def damage(path, start, length):
    """Overwrite part of a file with noise."""
    content = bytearray(path.read_bytes())
    noise = np.random.default_rng(1).integers(0, 256, length, dtype=np.uint8)
    content[start : start + length] = noise.tobytes()
    path.write_bytes(content)
