"""Files damaged at random, from a seed: frames or an error of ours, and never anything else."""

from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from tests.client.sources.videos import write_video
from tsnd_client.errors import VideoError
from tsnd_client.sources.video_file import VideoFile, probe

KINDS: dict[str, dict[str, Any]] = {
    "h264.mp4": {"options": {"bf": "2", "g": "8"}},
    "h264.mkv": {"options": {"bf": "2", "g": "8"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"g": "8"}},
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"bf": "2", "g": "8"}},
}


def damaged(content, random):
    """Overwrite, cut away, or double some of a file."""
    content = bytearray(content)
    for _ in range(random.integers(1, 6)):
        place, length = int(random.integers(len(content))), int(random.integers(1, 40))
        match random.integers(4):
            case 0:
                noise = random.integers(0, 256, length, np.uint8).tobytes()
                content[place : place + length] = noise
            case 1:
                del content[place : place + length]
            case 2:
                content[place:place] = content[place : place + length]
            case _:
                content[place] ^= 1 << int(random.integers(8))
    return bytes(content)


@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_file_gives_frames_or_says_what_is_wrong(tmp_path, name):
    path = write_video(tmp_path / name, frames=24, **KINDS[name])
    whole = path.read_bytes()
    random = np.random.default_rng(7)
    read = 0

    for _ in range(40):
        path.write_bytes(damaged(whole, random))
        with suppress(VideoError):
            probe(path)
        with suppress(VideoError):
            source = VideoFile(path)
            numbers = [frame.index for frame in source.frames()]
            assert numbers == sorted(set(numbers))
            read += bool(numbers)
        with suppress(VideoError):
            source = VideoFile(path)
            wanted = source.indices[::5]
            assert [frame.index for frame in source.frames_at(wanted)] == list(wanted)

    assert read > 5
