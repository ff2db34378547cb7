import struct

import cv2
import numpy as np
import pytest

from tests.builders import random_bytes
from tsnd_builder.calibration.image_files import read_bgr, read_grey
from tsnd_builder.errors import CalibrationError


def test_an_image_is_read_as_opencv_reads_it(tmp_path):
    path = tmp_path / "image.jpg"
    assert cv2.imwrite(str(path), random_bytes(1, 48, 65, 3))

    for read, flags in ((read_bgr, cv2.IMREAD_COLOR), (read_grey, cv2.IMREAD_GRAYSCALE)):
        expected = cv2.imread(str(path), flags)
        assert expected is not None
        assert np.array_equal(read(path), expected)


def test_a_png_is_read_exactly(tmp_path):
    pixels = random_bytes(1, 48, 65, 3)
    assert cv2.imwrite(str(tmp_path / "image.png"), pixels)

    assert np.array_equal(read_bgr(tmp_path / "image.png"), pixels)


def test_an_image_that_claims_to_be_huge_is_refused_before_it_is_decoded(tmp_path):
    content = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    (tmp_path / "bomb.png").write_bytes(content[:16] + struct.pack(">2I", 65535, 8) + content[24:])

    with pytest.raises(CalibrationError, match=r"bomb\.png has 65535 x 8 pixels, at most 8192"):
        read_bgr(tmp_path / "bomb.png")


def test_an_image_cut_short_is_an_error(tmp_path, capfd):
    content = cv2.imencode(".jpg", random_bytes(1, 48, 64, 3))[1].tobytes()
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])

    with pytest.raises(CalibrationError, match=r"cut\.jpg is damaged"):
        read_bgr(tmp_path / "cut.jpg")


@pytest.mark.parametrize("content", [b"", b"no image"])
def test_what_is_no_image_is_an_error(tmp_path, content):
    (tmp_path / "no.jpg").write_bytes(content)

    with pytest.raises(CalibrationError, match=r"no\.jpg is neither JPEG nor PNG"):
        read_bgr(tmp_path / "no.jpg")


def test_a_missing_image_is_an_error(tmp_path):
    with pytest.raises(CalibrationError, match=r"gone\.jpg cannot be read: No such file"):
        read_bgr(tmp_path / "gone.jpg")
