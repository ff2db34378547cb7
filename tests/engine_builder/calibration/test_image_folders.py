import cv2
import numpy as np
import pytest

from tests.builders import random_bytes
from tsnd_builder.calibration.image_folders import open_image_folder
from tsnd_builder.calibration.snippets import SnippetSpec
from tsnd_builder.errors import CalibrationError
from tsnd_builder.serving_graph import Modality

RGB = SnippetSpec(Modality.RGB, frame_height=48, frame_width=64, stack_depth=0)
FLOW = SnippetSpec(Modality.FLOW, frame_height=48, frame_width=64, stack_depth=5)


def numbered(pattern, *numbers):
    return [pattern % number for number in numbers]


def brightness(images):
    return [round(float(image.mean())) for image in images]


def test_images_of_dense_flow_are_in_the_order_of_their_numbers(make_images):
    folder = make_images("video", numbered("img_%d.jpg", 1, 2, 10))
    make_images("video", ["cover.jpg"], offset=200)

    video = open_image_folder(folder, RGB)

    assert video.count() == 3
    assert brightness(video.read([1, 2, 3])) == [0, 6, 12]


def test_plain_images_are_in_the_order_of_their_names(make_images):
    folder = make_images("video", ["a.jpg", "b.png", "c.JPG"])

    video = open_image_folder(folder, RGB)

    assert video.count() == 3
    assert brightness(video.read([2, 3])) == [6, 12]


def test_images_of_different_sizes_are_resized_with_bilinear_interpolation(make_images):
    folder = make_images("video", ["a.png"], size=(24, 32))
    pixels = random_bytes(1, 40, 80, 3)
    assert cv2.imwrite(str(folder / "b.png"), pixels)

    first, second = open_image_folder(folder, RGB).read([1, 2])

    assert first.shape == (48, 64, 3)
    assert np.array_equal(second, cv2.resize(pixels, (64, 48), interpolation=cv2.INTER_LINEAR))


@pytest.mark.parametrize("pattern", ["flow_%s_%05d.jpg", "flow_%s_%d.jpg"])
def test_flow_fields_are_pairs_of_planes_x_and_y(make_images, pattern):
    folder = make_images("video", [pattern % ("x", number) for number in range(1, 12)])
    make_images("video", [pattern % ("y", number) for number in range(1, 12)], offset=100)

    video = open_image_folder(folder, FLOW)
    (field,) = video.read([10])

    assert video.count() == 11
    assert field.shape == (2, 48, 64)
    assert brightness(field) == [54, 154]


def test_x_and_y_must_have_the_same_numbers(make_images):
    make_images("video", numbered("flow_x_%05d.jpg", 1, 2, 3))
    folder = make_images("video", numbered("flow_y_%05d.jpg", 1, 3))

    with pytest.raises(CalibrationError, match=r"has 3 flow_x and 2 flow_y images.*number 2 has"):
        open_image_folder(folder, FLOW)


@pytest.mark.parametrize(
    ("spec", "names", "reason"),
    [
        (FLOW, ["a.jpg"], r"has no flow_x_\*\.jpg and flow_y_\*\.jpg"),
        (RGB, ["flow_x_1.jpg", "flow_y_1.jpg"], r"has flow images, but no img_\*\.jpg"),
        (RGB, [], "has no images"),
    ],
)
def test_images_of_the_other_modality_are_an_error(make_images, spec, names, reason):
    with pytest.raises(CalibrationError, match=reason):
        open_image_folder(make_images("video", names), spec)


def test_a_folder_that_is_gone_is_an_error(tmp_path):
    with pytest.raises(CalibrationError, match="cannot be listed: No such file"):
        open_image_folder(tmp_path / "gone", RGB)
