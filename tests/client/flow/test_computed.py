import numpy as np
import pytest

from tests.client.flow.videos import moving_frame, write_moving
from tests.client.sources.videos import write_video
from tsnd_client.errors import InputError, VideoError
from tsnd_client.flow.algorithms import Algorithm, make_method
from tsnd_client.flow.computed import ComputedFlow, flow_between
from tsnd_client.flow.open import open_flow
from tsnd_client.flow.quantise import quantise
from tsnd_client.flow.stack import field_indices, flow_stacks
from tsnd_client.flow.workers import FlowPool
from tsnd_client.images import resize_bgr, to_grey
from tsnd_client.sources.base import Frame
from tsnd_client.sources.folder import FlowFolder
from tsnd_client.sources.video_file import VideoFile


@pytest.fixture(scope="module")
def pool():
    with FlowPool(Algorithm.FARNEBACK, workers=2) as pool:
        yield pool


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_moving(tmp_path_factory.mktemp("flow") / "moving.mp4", frames=10)


def expected_fields(video, size):
    """Plainly: field j is from frame j - 1 to frame j."""
    method = make_method(Algorithm.FARNEBACK)
    greys = [
        to_grey(frame.bgr if size is None else resize_bgr(frame.bgr, *size))
        for frame in VideoFile(video).frames()
    ]
    return {
        j: quantise(method(greys[j - 1], greys[j])).transpose(2, 0, 1) for j in range(1, len(greys))
    }


@pytest.mark.parametrize("size", [None, (64, 48)])
def test_field_j_leads_to_frame_j(video, pool, size):
    expected = expected_fields(video, size)
    with open_flow(video, pool, size=size) as flow:
        fields = list(flow.fields_at(flow.indices))

    assert flow.indices == range(1, 10)
    assert [field.index for field in fields] == list(range(1, 10))
    for field in fields:
        np.testing.assert_array_equal(field.planes, expected[field.index])


def test_movement_to_the_right_and_down_is_above_128(video, pool):
    with open_flow(video, pool, size=None) as flow:
        (field,) = flow.fields_at([4])

    x, y = np.median(field.planes, axis=(1, 2))
    assert (x, y) == pytest.approx((127.5 + 2 * 6.375, 127.5 + 6.375), abs=1)


def test_only_what_is_asked_for_is_computed(video, pool):
    expected = expected_fields(video, None)
    with open_flow(video, pool, size=None) as flow:
        fields = list(flow.fields_at([2, 3, 3, 7]))

    assert [field.index for field in fields] == [2, 3, 3, 7]
    for field in fields:
        np.testing.assert_array_equal(field.planes, expected[field.index])


def test_stacks_of_a_video_are_those_of_its_fields(video, pool):
    expected, ticks = expected_fields(video, None), [1, 3, 8]
    with open_flow(video, pool, size=None) as flow:
        last = flow.indices[-1]
        fields = flow.fields_at(field_indices(ticks, last))
        stacks = list(flow_stacks(fields, ticks, last))

    np.testing.assert_array_equal(
        stacks[2].pixels, np.concatenate([expected[j] for j in (8, 9, 9, 9, 9)])
    )


def test_a_video_of_one_frame_has_no_flow(tmp_path, pool):
    flow = open_flow(write_video(tmp_path / "one.mp4", frames=1), pool)

    with pytest.raises(VideoError, match=r"one\.mp4 has 1 frame, flow needs at least 2"):
        flow.indices  # noqa: B018


def test_a_field_that_is_not_there_is_an_error(video, pool):
    for index in (0, 10):
        with pytest.raises(IndexError):
            list(open_flow(video, pool).fields_at([index]))


def test_a_camera_has_no_flow_at_any_time(pool):
    with pytest.raises(InputError, match="gives its frames once"):
        open_flow("rtsp://127.0.0.1/none", pool)


def test_live_flow_is_computed_between_neighbours_only(pool):
    frames = [
        Frame(index, index / 25, np.repeat(moving_frame(index)[..., None], 3, axis=2))
        for index in (0, 1, 2, 5, 6, 8)
    ]

    fields = list(flow_between(frames, pool, size=None))

    assert [field.index for field in fields] == [1, 2, 6]
    np.testing.assert_array_equal(fields[0].planes, fields_of_neighbours(0))
    np.testing.assert_array_equal(fields[2].planes, fields_of_neighbours(5))


def fields_of_neighbours(index):
    flow = make_method(Algorithm.FARNEBACK)(moving_frame(index), moving_frame(index + 1))
    return quantise(flow).transpose(2, 0, 1)


def test_a_folder_of_flow_images_is_read_not_computed(tmp_path, pool):
    folder = tmp_path / "flow"
    folder.mkdir()
    for name in ("flow_x_00001.jpg", "flow_y_00001.jpg"):
        (folder / name).write_bytes(b"")

    assert isinstance(open_flow(folder, pool), FlowFolder)


def test_frames_are_given_with_the_fields_that_lead_to_them(video, pool):
    frames = {frame.index: frame.bgr for frame in VideoFile(video).frames()}
    with ComputedFlow(VideoFile(video), pool, None) as flow:
        pairs = list(flow.pairs_at([1, 2, 9]))

    for bgr, field in pairs:
        np.testing.assert_array_equal(bgr, frames[field.index])
