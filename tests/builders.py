"""Small Caffe models, made in code, and ways to run and to compare what becomes of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from tsnd.caffe.net_pb2 import BlobProto, BlobShape, WeightFile
from tsnd_builder.assemble import load_graph
from tsnd_builder.caffe.graph import Graph
from tsnd_builder.export import export_onnx

Floats = npt.NDArray[np.float32]
Blobs = Mapping[str, Sequence[npt.ArrayLike]]
"""The weights of a net: arrays in Caffe's order, by layer name."""

FLOAT32_TOLERANCE = 1e-5
"""Largest relative error of a small float32 net: sums of up to a few hundred products of
24-bit numbers, added in another order than Caffe's."""

TINY_CROP = 14
TINY_FEATURES = 10


def layer(name: str, kind: str, bottoms: str, tops: str, settings: str = "") -> str:
    """Write one layer; bottoms and tops are names with spaces between."""
    blobs = [f'bottom: "{blob}"' for blob in bottoms.split()]
    blobs += [f'top: "{blob}"' for blob in tops.split()]
    return f'layer {{ name: "{name}" type: "{kind}" {" ".join(blobs)} {settings} }}\n'


def net(*layers: str, **inputs: Sequence[int]) -> str:
    """Write a deploy net; by default it has one input, `data`, of 1 x 3 x 8 x 8."""
    shapes = inputs or {"data": (1, 3, 8, 8)}
    heads = (
        f'input: "{name}" input_shape {{ dim: {list(shape)} }}\n' for name, shape in shapes.items()
    )
    return "".join(['name: "small"\n', *heads, *layers])


def write_prototxt(folder: Path, text: str, name: str = "net.prototxt") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def write_weights(folder: Path, blobs: Blobs, name: str = "weights.caffemodel") -> Path:
    """Write a caffemodel as Caffe does: one record per layer, shape and packed data."""
    file = WeightFile(name="small")
    for layer_name, arrays in blobs.items():
        file.layer.add(name=layer_name, blobs=[blob_proto(array) for array in arrays])
    path = folder / name
    path.write_bytes(file.SerializeToString())
    return path


def blob_proto(array: npt.ArrayLike) -> BlobProto:
    values = np.asarray(array, np.float32)
    return BlobProto(shape=BlobShape(dim=values.shape), data=values.ravel().tolist())


def graph_of(folder: Path, text: str, blobs: Blobs | None = None) -> Graph:
    """Write a net and its weights, and load both."""
    prototxt = write_prototxt(folder, text)
    weights = None if blobs is None else write_weights(folder, blobs)
    return load_graph(prototxt, weights)


def run_net(
    folder: Path,
    text: str,
    inputs: Mapping[str, npt.NDArray[np.generic]],
    blobs: Blobs | None = None,
    *,
    keep_bn: bool = False,
) -> dict[str, Floats]:
    """Convert a net and run it; the results are the net's outputs by blob name."""
    return run_onnx(export_onnx(graph_of(folder, text, blobs), keep_bn=keep_bn), inputs)


def run_onnx(
    model: onnx.ModelProto, inputs: Mapping[str, npt.NDArray[np.generic]]
) -> dict[str, Floats]:
    """Run a model on two threads of the CPU; the results are by output name."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def max_relative_error(actual: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """Return max|actual - reference| / max|reference|; the shapes must agree."""
    found, expected = np.asarray(actual, np.float64), np.asarray(reference, np.float64)
    assert found.shape == expected.shape
    scale = float(np.abs(expected).max())
    return float(np.abs(found - expected).max()) / (scale or 1.0)


def random_floats(seed: int, *shape: int) -> Floats:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def random_bytes(seed: int, *shape: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def bn_blobs(rng: np.random.Generator, channels: int) -> list[npt.NDArray[np.float64]]:
    """Draw slope, bias, mean and variance of a BN layer that has seen some training."""
    shape = (1, channels)
    return [
        rng.uniform(0.5, 1.5, shape),
        rng.normal(0.0, 0.2, shape),
        rng.normal(0.0, 0.5, shape),
        rng.uniform(0.5, 2.0, shape),
    ]


def tiny_net(*, channels: int = 3, classes: int = 5) -> str:
    """Describe a net with all that TSN's have: 14 x 14 in, 10 features, `fc-action` out."""
    return net(
        _conv_bn_relu("conv1/3x3_s2", "data", "num_output: 8 kernel_size: 3 stride: 2 pad: 1"),
        layer(
            "pool1/3x3_s2",
            "Pooling",
            "conv1/3x3_s2_bn",
            "pool1/3x3_s2",
            "pooling_param { pool: MAX kernel_size: 3 stride: 2 }",
        ),
        _conv_bn_relu("inception/1x1", "pool1/3x3_s2", "num_output: 6 kernel_size: 1"),
        layer(
            "inception/pool",
            "Pooling",
            "pool1/3x3_s2",
            "inception/pool",
            "pooling_param { pool: AVE kernel_size: 3 stride: 1 pad: 1 }",
        ),
        _conv_bn_relu("inception/pool_proj", "inception/pool", "num_output: 4 kernel_size: 1"),
        layer(
            "inception/output",
            "Concat",
            "inception/1x1_bn inception/pool_proj_bn",
            "inception/output",
        ),
        layer(
            "global_pool",
            "Pooling",
            "inception/output",
            "global_pool",
            "pooling_param { pool: AVE kernel_size: 3 stride: 1 }",
        ),
        layer(
            "dropout",
            "Dropout",
            "global_pool",
            "global_pool",
            "dropout_param { dropout_ratio: 0.8 }",
        ),
        layer(
            "fc-action",
            "InnerProduct",
            "global_pool",
            "fc-action",
            f"inner_product_param {{ num_output: {classes} }}",
        ),
        data=(1, channels, TINY_CROP, TINY_CROP),
    )


def tiny_blobs(
    *, channels: int = 3, classes: int = 5, seed: int = 0
) -> dict[str, list[npt.NDArray[np.float64]]]:
    """Draw the weights of `tiny_net`, for inputs in the range of centred pixels."""
    rng = np.random.default_rng(seed)
    shapes = {
        "conv1/3x3_s2": (8, channels, 3, 3),
        "inception/1x1": (6, 8, 1, 1),
        "inception/pool_proj": (4, 8, 1, 1),
    }
    blobs: dict[str, list[npt.NDArray[np.float64]]] = {}
    for name, shape in shapes.items():
        deviation = np.sqrt(2.0 / np.prod(shape[1:]))
        blobs[name] = [rng.normal(0.0, deviation, shape), rng.normal(0.0, 0.1, shape[0])]
        blobs[f"{name}_bn"] = bn_blobs(rng, shape[0])
    blobs["conv1/3x3_s2"][0] /= 64.0  # the deviation of pixels
    blobs["fc-action"] = [rng.normal(size=(classes, TINY_FEATURES)), rng.normal(size=classes)]
    return blobs


def delicate_blobs() -> dict[str, list[npt.NDArray[np.float64]]]:
    """Draw weights of `tiny_net` that INT8 ruins: a large value that nothing reads.

    The values beside it are less than one step of the range. Dark and bright frames have
    different first classes in FP32, and the same in INT8.
    """
    blobs = tiny_blobs()
    blobs["conv1/3x3_s2_bn"][1][0, 0] = 1e6
    for name in ("inception/1x1", "inception/pool_proj"):
        blobs[name][0][:, 0] = 0.0
    return blobs


def write_tiny_caffe_model(
    folder: Path, *, channels: int = 3, classes: int = 5, seed: int = 0
) -> tuple[Path, Path, Path]:
    """Write a tiny TSN-shaped model: prototxt, caffemodel and labels, in this order.

    Its input is `data`, of 14 x 14 with 3 channels (rgb) or 10 (flow); its features are
    the 10 values of `global_pool`, its scores those of `fc-action`.
    """
    prototxt = write_prototxt(folder, tiny_net(channels=channels, classes=classes))
    weights = write_weights(folder, tiny_blobs(channels=channels, classes=classes, seed=seed))
    labels = folder / "labels.txt"
    labels.write_text("".join(f"class {index}\n" for index in range(classes)), encoding="utf-8")
    return prototxt, weights, labels


def _conv_bn_relu(name: str, bottom: str, settings: str) -> str:
    """Write convolution, BN and, in place, ReLU, as TSN's files do."""
    top = f"{name}_bn"
    return (
        layer(name, "Convolution", bottom, name, f"convolution_param {{ {settings} }}")
        + layer(top, "BN", name, top, "bn_param { frozen: true }")
        + layer(f"{name}_relu", "ReLU", top, top)
    )
