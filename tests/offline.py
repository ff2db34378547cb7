"""TSN's test protocol by hand: NumPy, the network alone in ONNX Runtime, no daemon, no client."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime

from tsnd_builder.assemble import load_graph
from tsnd_builder.export import export_onnx

BGR_MEAN = np.array([104, 117, 123], np.float32)
FLOW_MEAN = np.float32(128)


def ten_crops(pixels, crop):
    """Cut [H, W, C] as TSN does: corners and centre, then the same mirrored: [10, C, c, c]."""
    height, width = pixels.shape[0] - crop, pixels.shape[1] - crop
    places = [(0, 0), (0, width), (height, 0), (height, width), (height // 2, width // 2)]
    plain = [pixels[y : y + crop, x : x + crop] for y, x in places]
    both = plain + [each[:, ::-1] for each in plain]
    return np.stack([each.transpose(2, 0, 1) for each in both]).astype(np.float32)


def rgb_input(bgr, crop):
    """From a frame uint8 [H, W, 3] to the network's input."""
    return ten_crops(bgr, crop) - BGR_MEAN[:, None, None]


def flow_input(planes, crop):
    """From a stack uint8 [10, H, W]; mirrored x planes are inverted."""
    crops = ten_crops(planes.transpose(1, 2, 0), crop)
    crops[5:, ::2] = 255 - crops[5:, ::2]
    return crops - FLOW_MEAN


@dataclass(frozen=True)
class Network:
    """A Caffe network without anything around it."""

    session: onnxruntime.InferenceSession
    crop: int

    @classmethod
    def load(cls, prototxt: Path, weights: Path) -> "Network":
        model = export_onnx(load_graph(prototxt, weights))
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        return cls(session, session.get_inputs()[0].shape[-1])

    def video_scores(self, inputs) -> npt.NDArray[np.float64]:
        """Average `fc-action` over the ten crops of each input, then over the inputs."""
        name = self.session.get_inputs()[0].name
        scores = [
            np.mean(
                [self.session.run(["fc-action"], {name: each[None]})[0][0] for each in crops], 0
            )
            for crops in inputs
        ]
        mean: npt.NDArray[np.float64] = np.mean(np.array(scores, np.float64), axis=0)
        return mean


def all_frames(path, width, height):
    with av.open(str(path)) as container:
        decoded = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    return [cv2.resize(frame, (width, height)) for frame in decoded]


def flow_fields(frames: Sequence[npt.NDArray[np.uint8]]) -> list[npt.NDArray[np.uint8]]:
    """Compute TV-L1 from each frame to the next, quantised at 20; the first is number 1."""
    algorithm: Any = cv2.optflow.createOptFlow_DualTVL1()
    greys = [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in frames]
    fields = []
    for earlier, later in itertools.pairwise(greys):
        flow = np.clip(algorithm.calc(earlier, later, None).astype(np.float64), -20, 20)
        fields.append(np.rint((flow + 20) * 255 / 40).astype(np.uint8).transpose(2, 0, 1))
    return fields


def probabilities(scores):
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()
