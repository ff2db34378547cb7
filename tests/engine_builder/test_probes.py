import numpy as np
import pytest

from tsnd_builder.probes import extreme_frames, natural_frames, noise_frames
from tsnd_builder.serving_graph import Modality

SHAPES = [(Modality.RGB, (6, 8, 3)), (Modality.FLOW, (10, 6, 8)), (Modality.RGB, (5, 7, 3))]

each_shape = pytest.mark.parametrize(("modality", "shape"), SHAPES, ids=str)


@each_shape
def test_extremes_are_black_white_and_two_chessboards(modality, shape):
    black, white, chess, opposite = extreme_frames(shape, modality)[:4]

    assert black.shape == shape
    assert (black.max(), white.min()) == (0, 255)
    np.testing.assert_array_equal(chess, 255 - opposite)
    plane = chess[0] if modality is Modality.FLOW else chess[:, :, 0]
    assert {*plane[0, :2], *plane[1, :2]} == {0, 255}
    np.testing.assert_array_equal(plane[1:, 1:], plane[:-1, :-1])
    np.testing.assert_array_equal(plane[:, 1:], 255 - plane[:, :-1])


def test_extremes_of_flow_also_part_x_from_y():
    frames = extreme_frames((10, 6, 8), Modality.FLOW)

    assert len(frames) == 6
    for frame, x, y in ((frames[4], 255, 0), (frames[5], 0, 255)):
        assert (frame[0::2] == x).all()
        assert (frame[1::2] == y).all()


def test_extremes_of_rgb_have_planes_alike():
    frames = extreme_frames((6, 8, 3), Modality.RGB)

    assert len(frames) == 4
    np.testing.assert_array_equal(frames[..., 0], frames[..., 2])


@each_shape
def test_frames_are_bytes_drawn_by_their_seed(modality, shape):
    noise = [noise_frames(shape, 3, seed) for seed in (1, 1, 2)]
    natural = [natural_frames(shape, modality, 3, seed) for seed in (1, 1, 2)]

    for one, same, other in (noise, natural):
        assert one.shape == (3, *shape)
        assert one.dtype == np.uint8
        np.testing.assert_array_equal(one, same)
        assert (one != other).any()


def test_noise_has_all_bytes_alike():
    counts = np.bincount(noise_frames((64, 64, 3), 8, 0).ravel(), minlength=256)

    assert counts.min() > 0.7 * counts.mean()
    assert counts.max() < 1.3 * counts.mean()


@pytest.mark.parametrize(
    ("modality", "shape", "mean", "deviation"),
    [(Modality.RGB, (64, 80, 3), 118, 55), (Modality.FLOW, (10, 64, 80), 128, 12)],
)
def test_natural_frames_have_the_contrast_of_real_ones(modality, shape, mean, deviation):
    frames = natural_frames(shape, modality, 4, 0).astype(float)

    assert frames.mean() == pytest.approx(mean, abs=3)
    assert frames.std() == pytest.approx(deviation, rel=0.1)


@pytest.mark.parametrize(
    ("modality", "shape"), [(Modality.RGB, (32, 40, 3)), (Modality.FLOW, (10, 32, 40))], ids=str
)
def test_neighbours_in_natural_frames_are_alike(modality, shape):
    frames = natural_frames(shape, modality, 8, 0).astype(float)
    planes = frames if modality is Modality.FLOW else frames.transpose(0, 3, 1, 2)

    for axis in (2, 3):
        assert np.abs(np.diff(planes, axis=axis)).mean() < 0.7 * planes.std()
