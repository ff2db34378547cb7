"""Frames to try a model with when no videos are at hand: extremes, noise, natural images."""

import numpy as np

from tsnd_builder.inference import Frames
from tsnd_builder.natural_images import natural_images
from tsnd_builder.serving_graph import Modality

_NATURAL = {Modality.RGB: (55.0, 118.0), Modality.FLOW: (12.0, 128.0)}
"""Deviation and mean of pixels, about those of real videos and their flow."""


def extreme_frames(shape: tuple[int, ...], modality: Modality) -> Frames:
    """Return the frames at the edges of what a client may send.

    Black, white, a chessboard of both, and its opposite; for flow, too, x planes at one
    end and y planes at the other, and both exchanged.

    Args:
        shape: Of one snippet, [H, W, 3] for rgb or [channels, H, W] for flow.
        modality: Says which axes are which.
    """
    is_flow = modality is Modality.FLOW
    rows, columns = np.indices(shape[1:] if is_flow else shape[:2])
    chess = np.broadcast_to(
        255 * ((rows + columns) % 2 if is_flow else ((rows + columns) % 2)[:, :, np.newaxis]), shape
    )
    frames = [np.zeros(shape), np.full(shape, 255), chess, 255 - chess]
    if is_flow:
        x_only = np.zeros(shape)
        x_only[0::2] = 255
        frames += [x_only, 255 - x_only]
    return np.stack(frames).astype(np.uint8)


def noise_frames(shape: tuple[int, ...], count: int, seed: int) -> Frames:
    """Draw frames of independent, uniform bytes."""
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def natural_frames(shape: tuple[int, ...], modality: Modality, count: int, seed: int) -> Frames:
    """Draw frames with the spectrum, mean and contrast of photos or of their flow."""
    is_flow = modality is Modality.FLOW
    planes = shape if is_flow else (shape[2], *shape[:2])
    deviation, mean = _NATURAL[modality]
    images = natural_images(np.random.default_rng(seed), (count, *planes), deviation)
    frames = np.clip(np.rint(images + np.float32(mean)), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(frames if is_flow else frames.transpose(0, 2, 3, 1))
