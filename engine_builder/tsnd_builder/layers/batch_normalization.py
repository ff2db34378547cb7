"""BatchNorm, the layer of upstream Caffe: stored statistics only, usually with a Scale behind.

Blobs: mean [C], variance [C], and one factor [1] that both are divided by.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tsnd.caffe.net_pb2 import LayerParameter
from tsnd_builder.caffe.graph import Layer, Shape
from tsnd_builder.errors import LayerError, WeightsError
from tsnd_builder.layers.spec import LayerSpec, fixed_dims
from tsnd_builder.onnx_writer import NodeWriter


def infer_shapes(parameters: LayerParameter, bottoms: Sequence[Shape]) -> Sequence[Shape]:
    """Keep the shape; channels are axis 1."""
    (bottom,) = bottoms
    batch_norm = parameters.batch_norm_param
    if len(bottom) < 2:
        raise LayerError(f"its bottom has shape {list(bottom)}; BatchNorm needs a channel axis.")
    if batch_norm.HasField("use_global_stats") and not batch_norm.use_global_stats:
        raise LayerError(
            "use_global_stats is false, so each snippet's result would depend on the others in "
            "its batch. For deployment remove it or set it to true."
        )
    if not 0 < batch_norm.eps < math.inf:
        raise LayerError(f"its eps is {batch_norm.eps:g}; it must be positive.")
    return bottoms


def blob_shapes(_parameters: LayerParameter, bottoms: Sequence[Shape]) -> list[tuple[int, ...]]:
    """Mean [C], variance [C], factor [1]."""
    channels = fixed_dims(bottoms[0][:2], 1)
    return [channels, channels, (1,)]


def scale_and_shift(
    layer: Layer,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the layer as y = scale * x + shift per channel; float64 [C] each."""
    mean, variance = _statistics(layer)
    scale = 1.0 / np.sqrt(variance + layer.parameters.batch_norm_param.eps)
    return scale, -mean * scale


def convert_batch_normalization(layer: Layer, writer: NodeWriter) -> None:
    """Write a BatchNormalization with slope 1 and bias 0."""
    (bottom,), (top,) = layer.bottoms, layer.tops
    mean, variance = _statistics(layer)
    constants = {
        "slope": np.ones_like(mean),
        "bias": np.zeros_like(mean),
        "mean": mean,
        "variance": variance,
    }
    names = [writer.floats(f"{layer.name}.{key}", array) for key, array in constants.items()]
    eps = layer.parameters.batch_norm_param.eps
    writer.node("BatchNormalization", [bottom.name, *names], top.name, name=layer.name, epsilon=eps)


def _statistics(layer: Layer) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return mean and variance; a factor of 0 makes both 0 (batch_norm_layer.cpp, Forward)."""
    mean, variance, factor = (blob.astype(np.float64) for blob in layer.blobs)
    weight = 0.0 if factor[0] == 0 else 1.0 / factor[0]
    if (variance * weight).min() + layer.parameters.batch_norm_param.eps <= 0:
        raise WeightsError(
            f"layer {layer.name!r} (BatchNorm): its stored variance has the value "
            f"{(variance * weight).min():.3g}; a variance is not negative. The weights are damaged."
        )
    return mean * weight, variance * weight


SPEC = LayerSpec(
    type="BatchNorm",
    infer_shapes=infer_shapes,
    blob_shapes=blob_shapes,
    convert=convert_batch_normalization,
    scale_and_shift=scale_and_shift,
    in_place=True,
)
