"""Random images with the statistics of photos, where real ones are not at hand."""

import numpy as np
import numpy.typing as npt


def natural_images(
    rng: np.random.Generator, shape: tuple[int, ...], deviation: float
) -> npt.NDArray[np.float32]:
    """Draw images whose power falls with the square of frequency, as that of photos does.

    Args:
        rng: Source of randomness.
        shape: [..., height, width].
        deviation: Deviation of each image.

    Returns:
        float32 of that shape; each image has mean 0.
    """
    height, width = shape[-2:]
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = np.inf
    noise = rng.normal(size=shape)
    images = np.fft.irfft2(np.fft.rfft2(noise) / frequency, s=(height, width))
    images *= deviation / images.std(axis=(-2, -1), keepdims=True)
    return images.astype(np.float32)
