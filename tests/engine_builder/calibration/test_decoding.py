import shutil
from contextlib import suppress
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tests.builders import random_bytes
from tsnd_builder.calibration.decoding import Length, measure, read_frames
from tsnd_builder.errors import CalibrationError


def damage(path, length):
    """Overwrite part of a file with noise, in its middle."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + length] = random_bytes(2, length).tobytes()
    path.write_bytes(content)


def is_open(path):
    """Say whether this process has a file open."""
    links = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the listing's own is closed by now
            links.append(descriptor.readlink())
    return path in links


def cut(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


@pytest.mark.parametrize("name", ["video.mkv", "video.avi"])
def test_frames_are_counted_from_none(make_video, name):
    assert measure(make_video(40, name)) == Length(frames=40, broken=0)


@pytest.mark.parametrize(
    ("name", "codec"), [("v.mp4", "mpeg4"), ("v.avi", "mjpeg"), ("v.mov", "mpeg4")]
)
def test_containers_and_codecs_are_of_no_matter(write_video, name, codec):
    pixel_format = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = write_video(list(random_bytes(1, 12, 48, 64, 3)), name, codec, pixel_format)

    assert measure(path) == Length(frames=12, broken=0)


def test_frames_are_read_by_their_places_in_bgr(write_video):
    pixels = random_bytes(1, 12, 48, 64, 3)
    path = write_video(list(pixels))

    frames = list(read_frames(path, [0, 3, 4, 11]))

    assert np.array_equal(frames, pixels[[0, 3, 4, 11]])


def test_a_file_is_closed_when_its_reader_stops(make_video):
    path = make_video()
    frames = read_frames(path, [1, 2, 3])
    next(frames)
    assert is_open(path)

    frames.close()

    assert not is_open(path)


def test_a_video_that_has_become_shorter_is_an_error(make_video):
    path = make_video(10)

    with pytest.raises(CalibrationError, match="ended before its frame 10"):
        list(read_frames(path, [9, 10]))


def test_a_video_cut_short_has_the_frames_that_are_there(write_video):
    path = write_video(list(random_bytes(1, 40, 48, 64, 3)))
    cut(path, 0.5)

    length = measure(path)

    assert 10 < length.frames < 30


def test_frames_that_cannot_be_decoded_are_counted_and_left_out(write_video):
    path = write_video(list(random_bytes(1, 40, 48, 64, 3)))
    damage(path, 3000)

    length = measure(path)

    assert length.broken > 0
    assert length.frames < 40
    assert len(list(read_frames(path, range(length.frames)))) == length.frames


def test_frames_that_are_decoded_in_part_are_left_out(write_video):
    path = write_video(list(random_bytes(1, 40, 48, 64, 3)), "v.mp4", "mpeg4", "yuv420p")
    damage(path, 100)

    assert measure(path) == Length(frames=39, broken=1)


def test_frames_that_grow_too_large_on_the_way_are_left_out(tmp_path):
    sizes = [(48, 64), (8448, 8448), (48, 64)]
    images = [cv2.imencode(".jpg", np.zeros(size, np.uint8))[1].tobytes() for size in sizes]
    (tmp_path / "v.mjpeg").write_bytes(b"".join(images))

    assert measure(tmp_path / "v.mjpeg") == Length(frames=2, broken=1)


@pytest.mark.parametrize(
    "name",
    [
        "we:ird.mkv",
        "pipe:0",
        "%05d ?#*.mkv",
        "-i.mkv",
        "学\n.mkv",
        b"caf\xe9.mkv".decode(errors="surrogateescape"),
    ],
)
def test_a_name_is_never_understood_as_anything_else(make_video, tmp_path, name):
    shutil.copy(make_video(5), tmp_path / name)

    assert measure(tmp_path / name).frames == 5


@pytest.mark.parametrize("name", ["notes.mp4", "notes.txt"])  # FFmpeg shows .txt as a video
def test_a_text_file_is_an_error(tmp_path, name, capfd):
    (tmp_path / name).write_text("not a video\n" * 1000)

    with pytest.raises(CalibrationError, match=rf"{name} is not a video that can be decoded"):
        measure(tmp_path / name)

    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nvideo.avi\n#EXT-X-ENDLIST\n"),
        ("list.ffconcat", "ffconcat version 1.0\nfile video.avi\n"),
    ],
)
def test_a_playlist_opens_no_other_file(make_video, tmp_path, monkeypatch, name, text):
    monkeypatch.chdir(make_video(5, "video.avi").parent)
    (tmp_path / name).write_text(text)

    with pytest.raises(CalibrationError, match="is not a video that can be decoded"):
        measure(tmp_path / name)


def test_a_frame_that_is_too_large_is_refused(write_video):
    path = write_video([np.zeros((16, 8200, 3), np.uint8)])

    with pytest.raises(CalibrationError, match="has 8200 x 16 pixels, at most 8192 x 8192"):
        measure(path)


def test_a_file_with_sound_alone_is_an_error(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.sample_rate = 44100
        container.mux(stream.encode(sound))
        container.mux(stream.encode())

    with pytest.raises(CalibrationError, match="has no pictures"):
        measure(path)


def test_a_file_cut_within_its_header_is_an_error(make_video):
    path = make_video()
    cut(path, 0.01)

    with pytest.raises(CalibrationError, match="is not a video that can be decoded"):
        measure(path)


def test_an_empty_file_is_an_error(tmp_path):
    (tmp_path / "empty.mp4").touch()

    with pytest.raises(CalibrationError, match="is empty"):
        measure(tmp_path / "empty.mp4")


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(CalibrationError, match=r"gone\.mp4 cannot be read: No such file"):
        measure(tmp_path / "gone.mp4")
