"""Makes a genuine Caffe model with random weights, so that all can be tried offline.

The weights are random but calibrated: each BN layer gets the statistics that the net
really has at that point, so activations keep their scale through all layers and the
scores differ between images, as they would in a trained net.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from google.protobuf import text_format
from onnx import TensorProto, helper, numpy_helper

from tsnd.caffe.net_pb2 import BlobProto, BlobShape, LayerParameter, NetParameter, WeightFile
from tsnd_builder.assemble import assemble
from tsnd_builder.caffe.graph import Array, Graph, Shape
from tsnd_builder.errors import PackageError
from tsnd_builder.export import export_onnx
from tsnd_builder.layers.spec import LayerSpec
from tsnd_builder.natural_images import natural_images
from tsnd_builder.networks.registry import NETWORKS
from tsnd_builder.serving_graph import Modality, find_heads
from tsnd_builder.stored_blobs import BlobSource

PROTOTXT_FILE = "deploy.prototxt"
WEIGHTS_FILE = "weights.caffemodel"
LABELS_FILE = "labels.txt"

_CALIBRATION_IMAGES = 4
_GREY_DEVIATION = {Modality.RGB: 55.0, Modality.FLOW: 12.0}  # about those of real videos
_SCORE_DEVIATION = 2.0
_AXES = "!axes"


@dataclass(frozen=True, slots=True)
class SyntheticModel:
    """A Caffe model in memory: its description, and its weights by layer name."""

    net: NetParameter
    blobs: dict[str, tuple[Array, ...]]


def synthesize(network: str, modality: Modality, *, classes: int, seed: int) -> SyntheticModel:
    """Make a network with random, calibrated weights.

    Args:
        network: One of NETWORKS.
        modality: rgb (3 input channels) or flow (10).
        classes: Outputs of the classifier.
        seed: Seed of all randomness; the same seed gives the same model.
    """
    rng = np.random.default_rng(seed)
    channels = 3 if modality is Modality.RGB else 10
    net = NETWORKS[network](channels=channels, classes=classes)
    graph = assemble(net, _random_blobs(rng), source=Path(PROTOTXT_FILE))
    shape = (_CALIBRATION_IMAGES, *net.input_dim[1:])
    images = natural_images(rng, shape, _GREY_DEVIATION[modality])
    return SyntheticModel(net, _calibrated(graph, images))


def write_caffe_model(model: SyntheticModel, folder: Path, *, classes: int) -> None:
    """Write prototxt, caffemodel and a list of made-up labels into a folder.

    Raises:
        PackageError: When the folder cannot be written.
    """
    weights = WeightFile(name=model.net.name)
    for layer in model.net.layer:
        blobs = (_blob_proto(array) for array in model.blobs.get(layer.name, ()))
        weights.layer.add(name=layer.name, type=layer.type, blobs=blobs)
    width = len(str(classes - 1))
    labels = "".join(f"class {index:0{width}d}\n" for index in range(classes))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PROTOTXT_FILE).write_text(text_format.MessageToString(model.net))
        (folder / WEIGHTS_FILE).write_bytes(weights.SerializeToString())
        (folder / LABELS_FILE).write_text(labels)
    except OSError as err:
        raise PackageError(f"cannot write to {folder}: {err.strerror} ({err.filename}).") from err


def _random_blobs(rng: np.random.Generator) -> BlobSource:
    """Return a source that draws weights, those of convolutions as He et al. (2015) do."""

    def draw(
        spec: LayerSpec, parameters: LayerParameter, bottoms: Sequence[Shape]
    ) -> tuple[Array, ...]:
        shapes = list(spec.blob_shapes(parameters, bottoms))
        if not shapes:
            return ()
        if spec.type == "BN":
            shape = shapes[0]
            slope, bias = rng.uniform(0.8, 1.2, shape), rng.normal(0.0, 0.2, shape)
            arrays = [slope, bias, np.zeros(shape), np.ones(shape)]
        else:
            weight, bias_shape = shapes
            deviation = math.sqrt(2.0 / math.prod(weight[1:]))
            arrays = [rng.normal(0.0, deviation, weight), rng.normal(0.0, 0.1, bias_shape)]
        return tuple(array.astype(np.float32) for array in arrays)

    return draw


def _calibrated(graph: Graph, images: npt.NDArray[np.float32]) -> dict[str, tuple[Array, ...]]:
    """Return the weights with the statistics that the net has on some images.

    The classifier is scaled so that its scores vary around 0 with a fixed deviation.
    """
    heads = find_heads(graph)
    model = export_onnx(graph, outputs=(heads.scores, heads.features), keep_bn=True)
    statistics = _use_batch_statistics(model.graph)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [heads.scores, *(name for pair in statistics.values() for name in pair)]
    results = session.run(names, {graph.inputs[0].name: images})
    values = dict(zip(names, results, strict=True))
    blobs = {layer.name: layer.blobs for layer in graph.layers if layer.blobs}
    for layer, (mean, variance) in statistics.items():
        shape = blobs[layer][0].shape
        stored = (values[mean].reshape(shape), values[variance].reshape(shape))
        blobs[layer] = (*blobs[layer][:2], *stored)
    classifier = next(la for la in graph.layers if la.tops[0].name == heads.scores)
    weight, bias = classifier.blobs
    scores = values[heads.scores]
    scale = np.float32(_SCORE_DEVIATION / scores.std())
    blobs[classifier.name] = (weight * scale, (bias - scores.mean(axis=0)) * scale)
    return blobs


def _use_batch_statistics(graph: onnx.GraphProto) -> dict[str, tuple[str, str]]:
    """Make each BatchNormalization use the statistics of its input, and output them.

    Returns:
        The names of mean and variance, float32 [1, C, 1, 1], by the name of the node.
    """
    statistics: dict[str, tuple[str, str]] = {}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type != "BatchNormalization":
            nodes.append(node)
            continue
        source, slope, bias, *_ = node.input
        names = {key: f"{node.name}!{key}" for key in ("mean", "centred", "square", "variance")}
        channels = f"{node.name}!channels"
        nodes += [
            helper.make_node("ReduceMean", [source], [names["mean"]], axes=[0, 2, 3]),
            helper.make_node("Sub", [source, names["mean"]], [names["centred"]]),
            helper.make_node("Mul", [names["centred"]] * 2, [names["square"]]),
            helper.make_node("ReduceMean", [names["square"]], [names["variance"]], axes=[0, 2, 3]),
            helper.make_node("Squeeze", [names["variance"], _AXES], [channels]),
            helper.make_node("Sub", [slope, slope], [f"{node.name}!zero"]),
            helper.make_node(
                "BatchNormalization",
                [names["centred"], slope, bias, f"{node.name}!zero", channels],
                list(node.output),
                name=node.name,
            ),
        ]
        statistics[node.name] = (names["mean"], names["variance"])
    del graph.node[:]
    graph.node.extend(nodes)
    read = {name for node in nodes for name in node.input}
    unread = [tensor for tensor in graph.initializer if tensor.name not in read]
    for tensor in unread:
        graph.initializer.remove(tensor)
    graph.initializer.append(numpy_helper.from_array(np.array([0, 2, 3], np.int64), _AXES))
    for name in (name for pair in statistics.values() for name in pair):
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return statistics


def _blob_proto(array: Array) -> BlobProto:
    return BlobProto(shape=BlobShape(dim=array.shape), data=array.ravel().tolist())
