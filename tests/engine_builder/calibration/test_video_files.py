import cv2
import numpy as np
import pytest

from tests.builders import random_bytes
from tsnd_builder.calibration.flow import quantise, tv_l1
from tsnd_builder.calibration.snippets import SnippetSpec
from tsnd_builder.calibration.video_files import FlowFile, RgbFile
from tsnd_builder.errors import CalibrationError
from tsnd_builder.serving_graph import Modality

RGB = SnippetSpec(Modality.RGB, frame_height=24, frame_width=40, stack_depth=0)
FLOW = SnippetSpec(Modality.FLOW, frame_height=48, frame_width=64, stack_depth=5)
both_kinds = pytest.mark.parametrize(("kind", "spec"), [(RgbFile, RGB), (FlowFile, FLOW)])


@pytest.fixture
def moving(write_video, texture):
    """A video whose content moves right and up; by a pixel first, and by one more each frame."""
    lefts, tops = 40 - np.cumsum(range(7)), np.cumsum(range(7))
    cuts = [texture[y : y + 48, x : x + 64] for x, y in zip(lefts, tops, strict=True)]
    return write_video([cv2.cvtColor(cut, cv2.COLOR_GRAY2BGR) for cut in cuts])


@both_kinds
def test_a_file_has_one_image_fewer_than_frames(make_video, kind, spec):
    assert kind(make_video(40), spec, print).count() == 39


@both_kinds
def test_a_file_of_one_frame_is_an_error(make_video, kind, spec):
    with pytest.raises(CalibrationError, match=r"has 1 frame\(s\).*expected at least 2"):
        kind(make_video(1), spec, print).count()


def test_image_j_is_frame_j_resized_with_bilinear_interpolation(write_video):
    pixels = random_bytes(1, 12, 48, 64, 3)

    images = list(RgbFile(write_video(list(pixels)), RGB, print).read([1, 11]))

    expected = [cv2.resize(pixels[j], (40, 24), interpolation=cv2.INTER_LINEAR) for j in (1, 11)]
    assert np.array_equal(images, expected)


def test_broken_frames_are_reported(write_video):
    path = write_video(list(random_bytes(1, 40, 48, 64, 3)))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = random_bytes(2, 3000).tobytes()
    path.write_bytes(content)
    lines: list[str] = []

    RgbFile(path, RGB, lines.append).count()

    assert len(lines) == 1
    assert "broken frame(s) left out" in lines[0]


def test_flow_field_j_leads_from_the_frame_before_to_frame_j(moving):
    fields = list(FlowFile(moving, FLOW, print).read([2, 3, 6]))

    # A pixel is 255 / 40 = 6.4 grey levels, and half a pixel is our tolerance.
    medians = np.median(np.stack(fields), axis=(2, 3))
    expected = 127.5 + 6.375 * np.array([[2, -2], [3, -3], [6, -6]])
    assert medians == pytest.approx(expected, abs=3.2)


def test_flow_is_that_between_resized_grey_frames(write_video):
    frames = [cv2.GaussianBlur(pixels, (0, 0), 4) for pixels in random_bytes(1, 3, 96, 128, 3)]

    (field,) = FlowFile(write_video(frames), FLOW, print).read([2])

    earlier, later = (
        cv2.cvtColor(cv2.resize(frame, (64, 48)), cv2.COLOR_BGR2GRAY) for frame in frames[1:]
    )
    assert np.array_equal(field, quantise(tv_l1()(earlier, later)).transpose(2, 0, 1))


def test_flow_is_announced_because_it_is_slow(moving):
    lines: list[str] = []

    list(FlowFile(moving, FLOW, lines.append).read([2, 3]))

    assert lines == [f"computing 2 TV-L1 flow fields of {moving}"]
