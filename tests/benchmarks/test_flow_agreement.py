import numpy as np
import pytest

from benchmarks.flow_agreement import compare, main
from tests.client.flow.videos import write_moving


def fields(x, y):
    return np.array([[[[x]], [[y]]]], np.uint8)


def test_equal_fields_agree_wholly():
    agreement = compare(fields(150, 128), fields(150, 128))

    assert (agreement.error, agreement.moving, agreement.within_1) == (0, 1, 1)


def test_errors_are_lengths_in_pixels():
    agreement = compare(fields(128, 128), fields(128 + 3, 128 - 4))

    assert agreement.error == pytest.approx(5 * 40 / 255)
    assert agreement.moving == 0
    assert np.isnan(agreement.moving_error)


def test_levels_of_both_directions_are_counted():
    agreement = compare(fields(10, 200), fields(11, 203))

    assert (agreement.within_1, agreement.within_2, agreement.within_4) == (0.5, 0.5, 1)


def test_it_runs_on_any_clip(tmp_path, capsys):
    clip = write_moving(tmp_path / "clip.mp4", frames=3)

    assert main(["--clips", str(clip), "--pairs", "1"]) == 0

    out = capsys.readouterr().out
    assert "clip.mp4: 1 pairs" in out
    assert "processes x 1 thread" in out
