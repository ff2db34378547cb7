import av
import numpy as np
import pytest

from tests.client.sources.videos import picture_of, write_video
from tsnd_client.errors import VideoError
from tsnd_client.sources.pictures import DECODER_OPTIONS, quarter_turns, to_bgr
from tsnd_client.sources.video_file import VideoFile, probe


def brightness(frames):
    return [frame.bgr.mean() for frame in frames]


def nearly(values):
    """As near as a lossy codec comes; frames are ten apart."""
    return pytest.approx(values, abs=4.5)


def damage(path, start, length):
    """Overwrite part of a file with noise."""
    content = bytearray(path.read_bytes())
    noise = np.random.default_rng(1).integers(0, 256, length, dtype=np.uint8)
    content[start : start + length] = noise.tobytes()
    path.write_bytes(content)


def test_every_frame_is_read_in_order(video):
    frames = list(VideoFile(video).frames())

    assert [frame.index for frame in frames] == list(range(20))
    assert brightness(frames) == nearly([10 * index for index in range(20)])


def test_a_frame_is_a_bgr_array_with_its_time(video):
    *_, last = VideoFile(video).frames()

    assert last.bgr.dtype == np.uint8
    assert last.bgr.shape == (48, 64, 3)
    assert last.time_s == pytest.approx(19 / 25)


def test_only_every_stride_th_frame_is_read(video):
    frames = list(VideoFile(video).frames(stride=8))

    assert [frame.index for frame in frames] == [0, 8, 16]
    assert brightness(frames) == nearly([0, 80, 160])


def test_time_counts_from_the_first_frame(make_video):
    path = make_video(name="late.mkv", first_pts=50)

    times_s = [frame.time_s for frame in VideoFile(path).frames(stride=10)]

    with av.open(str(path)) as container:
        assert container.streams.video[0].start_time == 2000
    assert times_s == pytest.approx([0, 0.4])


def test_a_stride_of_zero_is_refused(video):
    with pytest.raises(ValueError, match="at least 1, got 0"):
        next(VideoFile(video).frames(stride=0))


@pytest.mark.parametrize("name", ["video.mp4", "video.avi", "video.mkv"])
def test_probing_tells_size_rate_and_number_of_frames(make_video, name):
    info = probe(make_video(name=name))

    assert (info.width, info.height, info.frames_per_s, info.frames) == (64, 48, 25, 20)


def test_broken_frames_are_skipped_and_reported(make_video):
    path = make_video(frames=60)
    damage(path, path.stat().st_size // 2, 100)
    source = VideoFile(path)

    frames = list(source.frames())

    assert 0 < len(frames) < 60
    assert source.counters.broken == 60 - len(frames)
    assert source.counters.first_reason


def test_a_video_cut_short_gives_the_frames_that_are_there(make_video):
    path = make_video(frames=60, options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])

    frames = list(VideoFile(path).frames())

    assert 0 < len(frames) < 60


def test_a_video_without_its_index_is_an_error(video):
    video.write_bytes(video.read_bytes()[:1000])

    with pytest.raises(VideoError, match="not a video that can be read, or it is broken"):
        probe(video)


def test_a_video_without_one_good_frame_is_an_error(make_video):
    path = make_video(frames=3, name="video.avi")
    content = path.read_bytes()
    movie = content.index(b"movi") + 4
    damage(path, movie + 8, content.index(b"idx1") - movie - 8)

    with pytest.raises(VideoError, match="has no frame that can be decoded"):
        list(VideoFile(path).frames())


def test_a_text_file_named_like_a_video_is_an_error(tmp_path, capfd):
    path = tmp_path / "notes.mp4"
    path.write_text("not a video\n" * 100)

    with pytest.raises(VideoError, match=r"notes\.mp4 is not a video.*ffmpeg -i"):
        list(VideoFile(path).frames())

    assert capfd.readouterr() == ("", "")


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(VideoError, match="there is no file"):
        probe(tmp_path / "nowhere.mp4")


def test_an_empty_file_is_an_error(tmp_path):
    (tmp_path / "empty.mp4").touch()

    with pytest.raises(VideoError, match="is empty"):
        probe(tmp_path / "empty.mp4")


def test_a_folder_is_an_error(tmp_path):
    with pytest.raises(VideoError, match="is a folder"):
        probe(tmp_path)


def test_a_file_with_sound_alone_is_an_error(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.sample_rate = 44100
        container.mux(stream.encode(sound))
        container.mux(stream.encode())

    with pytest.raises(VideoError, match="has no video stream, only audio"):
        probe(path)


def test_a_rotated_video_is_turned_as_players_do(tmp_path):
    upright = write_video(tmp_path / "upright.mp4", codec="mpeg4", frames=1)
    (frame,) = VideoFile(upright).frames()

    for degrees, turns in ((90, 1), (180, 2), (270, 3), (-90, 3), (0, 0)):
        path = write_video(tmp_path / "r.mp4", codec="mpeg4", frames=1, rotation=degrees)
        (turned,) = VideoFile(path).frames()
        np.testing.assert_array_equal(turned.bgr, np.rot90(frame.bgr, turns))


def test_an_odd_angle_is_left_alone():
    assert quarter_turns(45) == 0
    assert quarter_turns(-90.2) == 3


def test_what_a_device_decodes_has_the_colours_of_what_the_processor_decodes():
    for planar, semi_planar in (("yuv420p", "nv12"), ("yuv420p10le", "p010le")):
        picture = av.VideoFrame.from_ndarray(picture_of(3), format="bgr24").reformat(format=planar)

        of_device = picture.reformat(format=semi_planar)

        np.testing.assert_array_equal(to_bgr(of_device), to_bgr(picture))


def test_a_machine_without_a_device_decodes_all_the_same(tmp_path):
    path = write_video(tmp_path / "v.mp4", options={"bf": "2", "g": "12"})

    pairs = zip(VideoFile(path).frames(), VideoFile(path, hardware=True).frames(), strict=True)

    for by_processor, found in pairs:
        np.testing.assert_array_equal(found.bgr, by_processor.bgr)


def test_ten_bit_and_eight_bit_look_alike(tmp_path):
    ten = write_video(tmp_path / "10.mp4", pix_fmt="yuv420p10le", options={"crf": "1"}, frames=3)
    eight = write_video(tmp_path / "8.mp4", pix_fmt="yuv420p", options={"crf": "1"}, frames=3)

    for of_ten, of_eight in zip(VideoFile(ten).frames(), VideoFile(eight).frames(), strict=True):
        assert of_ten.bgr.dtype == np.uint8
        centres = slice(8, None, 16), slice(8, None, 16)  # chroma is spread at edges
        assert np.abs(of_ten.bgr[centres].astype(int) - of_eight.bgr[centres]).max() < 8


def test_a_video_of_one_frame_has_one_frame(tmp_path):
    source = VideoFile(write_video(tmp_path / "one.mp4", frames=1))

    assert source.indices == range(1)
    assert [frame.index for frame in source.frames()] == [0]


def test_a_video_without_frames_is_an_error(tmp_path):
    path = write_video(tmp_path / "none.mkv", codec="mpeg4", frames=0)

    for use in (lambda source: source.indices, lambda source: list(source.frames())):
        with pytest.raises(VideoError, match=r"none\.mkv"):
            use(VideoFile(path))


def test_a_video_with_sound_gives_its_pictures_alone(tmp_path):
    path = write_video(tmp_path / "loud.mp4", frames=5, audio=True)

    assert VideoFile(path).indices == range(5)
    assert len(list(VideoFile(path).frames())) == 5


def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path):
    path = write_video(tmp_path / "huge.avi", codec="mjpeg", pix_fmt="yuvj420p", frames=1)
    content = bytearray(path.read_bytes())
    for mark, size in ((b"strf", (12000).to_bytes(4, "little")), (b"\xff\xc0", b"\x2e\xe0")):
        place = content.index(mark) + (12 if mark == b"strf" else 5)
        content[place : place + 2 * len(size)] = size * 2
    path.write_bytes(content)

    with pytest.raises(VideoError, match=r"huge\.avi .*at most 67108864 pixels"):
        VideoFile(path).indices  # noqa: B018


def test_a_playlist_opens_no_other_file(tmp_path, video):
    playlist = tmp_path / "list.m3u8"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{video}\n#EXT-X-ENDLIST\n")

    with pytest.raises(VideoError, match="not a video that can be read"):
        list(VideoFile(playlist).frames())


def test_a_picture_that_grows_beyond_the_limit_on_the_way_is_broken(monkeypatch, tmp_path):
    small = write_video(tmp_path / "small.m2v", codec="mpeg2video", frames=3).read_bytes()
    large = write_video(
        tmp_path / "large.m2v", codec="mpeg2video", frames=3, size=(128, 96)
    ).read_bytes()
    path = tmp_path / "growing.m2v"
    path.write_bytes(small + large)
    monkeypatch.setitem(DECODER_OPTIONS, "max_pixels", str(100 * 80))
    source = VideoFile(path)

    frames = list(source.frames())

    assert {frame.bgr.shape for frame in frames} == {(48, 64, 3)}
    assert source.counters.broken


def test_a_title_in_another_encoding_does_not_matter(tmp_path):
    path = write_video(tmp_path / "old.mkv", codec="mpeg4", frames=2)
    content = path.read_bytes()
    assert b"Lavf" in content
    path.write_bytes(content.replace(b"Lavf", b"\xe9\xe8\xe0f"))

    assert len(list(VideoFile(path).frames())) == 2


def test_pictures_of_a_codec_that_is_not_known_are_an_error(tmp_path):
    path = write_video(tmp_path / "odd.avi", codec="mjpeg", pix_fmt="yuvj420p", frames=2)
    path.write_bytes(path.read_bytes().replace(b"MJPG", b"??#!"))

    with pytest.raises(VideoError, match="codec that is not known"):
        probe(path)
