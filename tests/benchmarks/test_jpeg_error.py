import cv2
import numpy as np
import pytest

from benchmarks.jpeg_error import change, compress

SCORES = np.array([[1.0, 4.0], [3.0, -2.0]])


def test_nothing_changes_where_scores_are_the_same():
    found = change(SCORES, SCORES, 261)

    assert (found.rms, found.largest, found.probability, found.video) == (0, 0, 0, 0)
    assert found.same_first == 1


def test_changes_are_told_beside_what_frames_differ_by():
    error = np.array([[0.0, 0.0], [0.0, 2.0]])

    found = change(SCORES + error, SCORES, 261)

    # Around their means of 2 and 1 the scores are -1, 3, 1, -3: a mean square of 5.
    assert found.rms == pytest.approx(np.sqrt(1 / 5))
    assert found.largest == 2 / 4
    assert found.video == pytest.approx(1 / 2)
    assert found.probability == pytest.approx(1 / (1 + np.exp(-5)) - 1 / (1 + np.exp(-3)), rel=1e-6)


def test_a_first_class_that_changes_is_counted():
    assert change(SCORES[:, ::-1], SCORES, 261).same_first == 0


def test_frames_are_compressed_to_files_of_their_size():
    frame = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)

    small, large = compress(frame, 50), compress(frame, 100)

    colourful = compress(frame, 100, full_colour=True)

    assert len(small) < len(large) < len(colourful)
    decoded = cv2.imdecode(np.frombuffer(small, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert decoded.shape == frame.shape
