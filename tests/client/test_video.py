import av
import numpy as np
import pytest

from tsnd_client.errors import VideoError
from tsnd_client.video import probe, read_frames, resize_bgr


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
    frames = list(read_frames(video))

    assert [frame.index for frame in frames] == list(range(20))
    assert brightness(frames) == nearly([10 * index for index in range(20)])


def test_a_frame_is_a_bgr_array_with_its_time(video):
    *_, last = read_frames(video)

    assert last.bgr.dtype == np.uint8
    assert last.bgr.shape == (48, 64, 3)
    assert last.time_s == pytest.approx(19 / 25)


def test_only_every_stride_th_frame_is_read(video):
    frames = list(read_frames(video, stride=8))

    assert [frame.index for frame in frames] == [0, 8, 16]
    assert brightness(frames) == nearly([0, 80, 160])


def test_time_counts_from_the_first_frame(make_video):
    path = make_video(name="late.mkv", first_pts=50)

    times_s = [frame.time_s for frame in read_frames(path, stride=10)]

    with av.open(str(path)) as container:
        assert container.streams.video[0].start_time == 2000
    assert times_s == pytest.approx([0, 0.4])


def test_a_stride_of_zero_is_refused(video):
    with pytest.raises(ValueError, match="at least 1, got 0"):
        next(iter(read_frames(video, stride=0)))


@pytest.mark.parametrize("name", ["video.mp4", "video.avi", "video.mkv"])
def test_probing_tells_size_rate_and_number_of_frames(make_video, name):
    info = probe(make_video(name=name))

    assert (info.width, info.height, info.frames_per_s, info.frames) == (64, 48, 25, 20)


def test_broken_frames_are_skipped_and_reported(make_video):
    path = make_video(frames=60)
    damage(path, path.stat().st_size // 2, 100)
    reasons: list[str] = []

    frames = list(read_frames(path, on_broken=reasons.append))

    assert 0 < len(frames) < 60
    assert reasons
    assert [frame.index for frame in frames] == list(range(len(frames)))


def test_a_video_cut_short_gives_the_frames_that_are_there(make_video):
    path = make_video(frames=60, options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])

    frames = list(read_frames(path))

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
        list(read_frames(path))


def test_a_text_file_named_like_a_video_is_an_error(tmp_path, capfd):
    path = tmp_path / "notes.mp4"
    path.write_text("not a video\n" * 100)

    with pytest.raises(VideoError, match=r"notes\.mp4 is not a video.*ffmpeg -i"):
        list(read_frames(path))

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


def test_resizing_is_bilinear():
    pixels = np.zeros((1, 2, 3), np.uint8)
    pixels[0, 1] = 100

    resized = resize_bgr(pixels, width=4, height=1)

    assert resized.dtype == np.uint8
    assert resized[0, :, 0].tolist() == [0, 25, 75, 100]


def test_resizing_gives_height_then_width():
    assert resize_bgr(np.zeros((48, 64, 3), np.uint8), width=340, height=256).shape == (256, 340, 3)


def test_a_frame_of_the_right_size_is_left_alone():
    pixels = np.zeros((48, 64, 3), np.uint8)

    assert resize_bgr(pixels, width=64, height=48) is pixels
