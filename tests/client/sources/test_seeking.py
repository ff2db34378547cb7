"""Every frame found by its number is the frame that decoding from the start gives."""

from typing import Any

import av
import numpy as np
import pytest

from tests.client.sources.videos import damage, write_video
from tsnd_client.errors import VideoError
from tsnd_client.sources.video_file import VideoFile

B_FRAMES = {"bf": "3", "g": "12", "keyint_min": "12"}
VARIABLE = [0, 40, 41, 200, 900, 901, 902, *range(1000, 1000 + 53 * 33, 33)]
KINDS: dict[str, dict[str, Any]] = {
    "h264 with B-frames.mp4": {"options": B_FRAMES},
    "h264 with B-frames.mkv": {"options": B_FRAMES},
    "h264 with B-frames.ts": {"options": B_FRAMES},
    "h264 with open groups.mp4": {"options": {**B_FRAMES, "x264-params": "open-gop=1"}},
    "h264 with keyframes everywhere.mp4": {"options": {"g": "1"}},
    "h264 with keyframes every other frame.mp4": {"options": {"g": "2", "bf": "1"}},
    "h264 with intra refresh.mp4": {"options": {"g": "10", "x264-params": "intra-refresh=1"}},
    "h264 with one keyframe.mp4": {"options": {"g": "1000", "bf": "2"}},
    "h264 in fragments.mp4": {
        "options": B_FRAMES,
        "container_options": {"movflags": "frag_keyframe+empty_moov"},
    },
    "h264 without an index.mkv": {"options": B_FRAMES, "container_options": {"live": "1"}},
    "h264 of 10 bit.mp4": {"options": B_FRAMES, "pix_fmt": "yuv420p10le"},
    "h264 of odd size.mp4": {"options": B_FRAMES, "pix_fmt": "yuv444p", "size": (65, 49)},
    "h265.mp4": {"codec": "libx265", "options": {"x265-params": "keyint=12:log-level=none"}},
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"bf": "2", "g": "12"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"g": "12"}},
    "mpeg4 with B-frames.avi": {"codec": "mpeg4", "options": {"bf": "2", "g": "12"}},
    "mpeg4 of odd size.mp4": {"codec": "mpeg4", "options": {"g": "12"}, "size": (65, 49)},
    "mpeg2.mpg": {"codec": "mpeg2video", "options": {"bf": "2", "g": "12"}},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "mjpeg.mp4": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "mjpeg.mkv": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "vp8.webm": {"codec": "libvpx", "options": {"g": "12", "auto-alt-ref": "1"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"g": "12", "cpu-used": "8"}},
    "variable rate.mp4": {"options": B_FRAMES, "stamps": VARIABLE},
    "variable rate.mkv": {"options": B_FRAMES, "stamps": VARIABLE},
    "rotated.mp4": {"options": B_FRAMES, "rotation": 90},
    "late start.mkv": {"options": B_FRAMES, "stamps": [5000 + 40 * i for i in range(60)]},
}
WANTED = [0, 1, 2, 11, 12, 13, 13, 30, 31, 47, 59]


@pytest.fixture(scope="module")
def write(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    return lambda name: write_video(folder / name, **KINDS[name])


@pytest.mark.parametrize("name", KINDS)
def test_frames_found_by_number_are_those_of_decoding_from_the_start(write, name):
    path = write(name)
    in_turn = list(VideoFile(path).frames())
    source = VideoFile(path)

    found = list(source.frames_at(WANTED))

    assert [frame.index for frame in in_turn] == list(source.indices) == list(range(60))
    assert [frame.index for frame in found] == WANTED
    for frame in found:
        np.testing.assert_array_equal(frame.bgr, in_turn[frame.index].bgr)
        assert frame.time_s == in_turn[frame.index].time_s
    assert source.counters.broken == 0


@pytest.mark.parametrize("name", ["h264 with B-frames.mp4", "h264 without an index.mkv"])
def test_every_single_frame_can_be_entered_at(write, name):
    path = write(name)

    for frame in VideoFile(path).frames():
        (found,) = VideoFile(path).frames_at([frame.index])
        np.testing.assert_array_equal(found.bgr, frame.bgr)


def test_a_video_of_keyframes_is_entered_near_the_frame(write):
    """By time stamp, not by decoding what comes before: what comes before is broken here."""
    path = write("h264 with B-frames.mp4")
    (whole,) = VideoFile(path).frames_at([50])
    copy = path.with_name("damaged.mp4")
    copy.write_bytes(path.read_bytes())
    with av.open(str(copy)) as container:
        places = [(packet.pos or 0, packet.size) for packet in container.demux(video=0)]
    for place, size in places[1:30]:
        damage(copy, place, size)

    source = VideoFile(copy)
    (found,) = source.frames_at([50])

    np.testing.assert_array_equal(found.bgr, whole.bgr)
    assert source.counters.broken == 0


def test_frames_cut_away_by_an_edit_list_have_no_number(tmp_path):
    path = write_video(tmp_path / "whole.mp4", options={"g": "12", "bf": "0"})
    whole = list(VideoFile(path).frames())
    cut = cut_by_edit_list(path, tmp_path / "cut.mp4", first=17)

    in_turn = list(VideoFile(cut).frames())
    found = list(VideoFile(cut).frames_at([0, 1, 20, 42]))

    assert VideoFile(cut).indices == range(43)
    assert [frame.index for frame in in_turn] == list(range(43))
    np.testing.assert_array_equal(in_turn[0].bgr, whole[17].bgr)
    assert in_turn[0].time_s == 0
    for frame in found:
        np.testing.assert_array_equal(frame.bgr, whole[17 + frame.index].bgr)


def cut_by_edit_list(path, cut, first):
    """Change the media time of a file's one edit, so that it begins at a later frame."""
    content = bytearray(path.read_bytes())
    place = content.index(b"elst") + 4
    assert content[place : place + 8] == bytes([0, 0, 0, 0, 0, 0, 0, 1])  # version 0, one entry
    content[place + 12 : place + 16] = (first * 512).to_bytes(4)  # 12800 ticks a second
    cut.write_bytes(content)
    return cut


@pytest.mark.parametrize("name", ["mpeg4.mp4", "mjpeg.mp4", "h264 with B-frames.mp4"])
def test_a_broken_frame_keeps_its_number_where_time_stamps_tell_it(write, name):
    path = write(name)
    whole = {frame.index: frame for frame in VideoFile(path).frames()}
    damage_packet(path, 25)

    source = VideoFile(path)
    in_turn = {frame.index: frame for frame in source.frames()}
    stand_ins = list(VideoFile(path).frames_at(range(60)))

    assert source.indices == range(60)
    assert 0 < source.counters.broken == 60 - len(in_turn)
    assert in_turn.keys() < whole.keys()
    np.testing.assert_array_equal(in_turn[59].bgr, whole[59].bgr)
    for index, frame in enumerate(stand_ins):
        expected = min(i for i in in_turn if i >= index)
        assert frame.index == index
        assert frame.time_s == whole[expected].time_s
        np.testing.assert_array_equal(frame.bgr, in_turn[expected].bgr)


def damage_packet(path, number):
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        place, size = packets[number].pos, packets[number].size
    damage(path, place, size)


def test_the_last_good_frame_stands_in_for_those_at_the_end(write):
    path = write("mjpeg.mp4")
    for number in range(40, 60):
        damage_packet(path, number)

    source = VideoFile(path)
    frames = list(source.frames_at([30, 45, 59]))

    (last_good,) = VideoFile(path).frames_at([39])
    assert [frame.index for frame in frames] == [30, 45, 59]
    for frame in frames[1:]:
        assert frame.time_s == last_good.time_s == 39 / 25
        np.testing.assert_array_equal(frame.bgr, last_good.bgr)
    assert source.counters.broken == 2
    assert source.counters.first_reason


def test_numbers_must_ascend(write):
    source = VideoFile(write("mpeg4.mp4"))

    with pytest.raises(ValueError, match="must be ascending"):
        list(source.frames_at([3, 2]))


@pytest.mark.parametrize("index", [-1, 60])
def test_a_frame_that_is_not_there_is_an_error(write, index):
    source = VideoFile(write("mpeg4.mp4"))

    with pytest.raises(IndexError, match=f"no frame {index}, only 0 to 59"):
        list(source.frames_at([index]))


def test_a_file_that_shrinks_between_two_readings_is_an_error(write):
    path = write("mpeg4.mp4")
    source = VideoFile(path)
    assert source.indices == range(60)
    path.write_bytes(b"")

    with pytest.raises(VideoError, match="is empty"):
        list(source.frames_at([3]))
