"""A texture that moves two pixels to the right and one down, frame by frame."""

import av
import cv2
import numpy as np

SIZE = (80, 64)


def moving_frame(index, width=SIZE[0], height=SIZE[1]):
    noise = np.random.default_rng(5).integers(0, 256, (height, width), np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3, borderType=cv2.BORDER_WRAP)
    texture = cv2.normalize(smooth, smooth, 0, 255, cv2.NORM_MINMAX)
    return np.roll(texture, (index, 2 * index), axis=(0, 1))


def write_moving(path, frames=8, size=SIZE):
    """Write it without loss."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for index in range(frames):
            picture = av.VideoFrame.from_ndarray(moving_frame(index, *size), format="gray")
            container.mux(stream.encode(picture.reformat(format="yuv420p")))
        container.mux(stream.encode())
    return path
