"""Builds the graph that is served: uint8 snippets in, fused scores and features out.

    snippets uint8 -> planes -> crops, mirrored too -> minus mean -> network
             -> mean over crops -> scores, features

All of TSN's test-time preprocessing is in it, in the layout in which decoders hand
pixels over, so a snippet costs a client one copy and the wire one byte per value.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import onnx
from onnx import TensorProto, compose, helper

from tsnd_builder.caffe.graph import BATCH, Dim, Graph
from tsnd_builder.errors import SelectionError
from tsnd_builder.export import IR_VERSION, check_model, export_onnx, make_model
from tsnd_builder.heads import LinearHead
from tsnd_builder.onnx_writer import NodeWriter

INPUT = "snippets"
SCORES = "scores"
FEATURES = "features"
CROPS = "crops"
"""Name of the value between preprocessing and network."""

NETWORK = "network/"
"""Before the names of the network's own values in a serving graph."""

_RGB_MEAN = (104.0, 117.0, 123.0)
_FLOW_MEAN = 128.0
_REFERENCE_CROP, _REFERENCE_HEIGHT, _REFERENCE_WIDTH = 224, 256, 340
_CROP_COUNTS = (1, 10)
_LARGEST_SIDE = 65_535  # of a JPEG


class Modality(StrEnum):
    """What a snippet is made of."""

    RGB = "rgb"
    FLOW = "flow"


@dataclass(frozen=True, slots=True)
class ServingSpec:
    """What the serving graph does to a snippet before the network sees it.

    Attributes:
        modality: RGB (one BGR frame) or flow (a stack of x and y planes).
        channels: Channels of the network's input.
        frame_height: Pixels of the frames or planes that clients send.
        frame_width: Likewise.
        crop_size: Side of the square that the network sees.
        crops_per_snippet: 1 (centre) or 10 (TSN's oversampling).
        mean: Subtracted per channel.
    """

    modality: Modality
    channels: int
    frame_height: int
    frame_width: int
    crop_size: int
    crops_per_snippet: int
    mean: tuple[float, ...]

    @property
    def snippet_shape(self) -> tuple[int, ...]:
        """Shape of one snippet: [H, W, 3] for rgb, [channels, H, W] for flow."""
        if self.modality is Modality.RGB:
            return (self.frame_height, self.frame_width, self.channels)
        return (self.channels, self.frame_height, self.frame_width)

    @property
    def stack_depth(self) -> int:
        """Flow fields per snippet; 0 for rgb."""
        return self.channels // 2 if self.modality is Modality.FLOW else 0


@dataclass(frozen=True, slots=True)
class Heads:
    """The two Caffe blobs that become outputs."""

    scores: str
    features: str


def serving_spec(
    graph: Graph,
    modality: Modality,
    *,
    crops_per_snippet: int,
    frame_size: tuple[int, int] | None = None,
) -> ServingSpec:
    """Derive the preprocessing of a network from its input and TSN's test protocol.

    Args:
        graph: The network; one input of shape [N, channels, crop, crop].
        modality: Must fit its channels: 3 for rgb, pairs for flow.
        crops_per_snippet: 1 or 10.
        frame_size: Height and width of the frames that clients send. The default is
            TSN's 256 x 340 for crops of 224, in proportion for others.

    Raises:
        SelectionError: When they do not fit together.
    """
    channels, crop_size = _network_input(graph)
    is_valid = channels == 3 if modality is Modality.RGB else channels % 2 == 0
    if not is_valid:
        raise SelectionError(
            f"{graph.source} takes {channels} channels, which does not fit --modality {modality}: "
            "rgb has 3, flow an even number. Use the other modality or the other prototxt."
        )
    if crops_per_snippet not in _CROP_COUNTS:
        raise SelectionError(f"{crops_per_snippet} crops are not a protocol of TSN; use 1 or 10.")
    height, width = frame_size or (
        _REFERENCE_HEIGHT * crop_size // _REFERENCE_CROP,
        _REFERENCE_WIDTH * crop_size // _REFERENCE_CROP,
    )
    if height < crop_size or width < crop_size:
        raise SelectionError(
            f"frames of {height} x {width} are smaller than the network's crop of {crop_size}."
        )
    if max(height, width) > _LARGEST_SIDE:
        raise SelectionError(
            f"frames of {height} x {width} are too large; the most is {_LARGEST_SIDE} a side."
        )
    mean = _RGB_MEAN if modality is Modality.RGB else (_FLOW_MEAN,) * channels
    return ServingSpec(modality, channels, height, width, crop_size, crops_per_snippet, mean)


def find_heads(graph: Graph) -> Heads:
    """Find the blobs that TSN calls scores and features.

    The scores are what the last InnerProduct gives, before any softmax (`fc-action`,
    `fc_action`); the features are what it reads (`global_pool`, `top_cls_global_pool`).

    Raises:
        SelectionError: When the network has no InnerProduct.
    """
    classifier = next((la for la in reversed(graph.layers) if la.type == "InnerProduct"), None)
    if classifier is None:
        raise SelectionError(
            f"{graph.source} has no InnerProduct layer that would give class scores. Give the "
            "deploy prototxt of a classification network."
        )
    return Heads(
        scores=_blob_of(graph, classifier.tops[0].name),
        features=_blob_of(graph, classifier.bottoms[0].name),
    )


def crop_offsets(spec: ServingSpec) -> tuple[tuple[int, int], ...]:
    """Return the (top, left) of each plain crop, in TSN's order.

    One crop is the centre. Ten are upper left, upper right, lower left, lower right and
    centre, and then all five mirrored (TSN pyActionRecog/utils/io.py, oversample).
    """
    bottom, right = spec.frame_height - spec.crop_size, spec.frame_width - spec.crop_size
    centre = (bottom // 2, right // 2)
    if spec.crops_per_snippet == 1:
        return (centre,)
    return ((0, 0), (0, right), (bottom, 0), (bottom, right), centre)


def build_serving_model(
    graph: Graph, spec: ServingSpec, heads: Heads, linear_heads: tuple[LinearHead, ...] = ()
) -> onnx.ModelProto:
    """Join preprocessing, network and crop fusion into one model.

    Args:
        graph: The network.
        spec: Its preprocessing.
        heads: Its output blobs.
        linear_heads: Further outputs, linear in the fused features.

    Returns:
        A checked model: input `snippets` uint8 [N, *spec.snippet_shape]; outputs
        `scores` float32 [N, classes] before softmax, `features` float32 [N, D], and
        float32 [N, out] for each linear head.
    """
    network = export_onnx(graph, outputs=(heads.scores, heads.features))
    network = compose.add_prefix(network, NETWORK)
    front = build_crops_model(spec)
    back = _fusion_model(graph, spec, heads, linear_heads)
    joined = compose.merge_models(
        front, network, io_map=[(CROPS, f"{NETWORK}{graph.inputs[0].name}")]
    )
    io_map = [(f"{NETWORK}{blob}", f"crops/{blob}") for blob in (heads.scores, heads.features)]
    joined = compose.merge_models(joined, back, io_map=io_map, name=network.graph.name)
    del joined.opset_import[1:]  # merging lists the one opset once per part
    joined.ir_version = IR_VERSION
    joined.producer_name, joined.producer_version = front.producer_name, front.producer_version
    return check_model(joined)


def build_crops_model(spec: ServingSpec) -> onnx.ModelProto:
    """Build the preprocessing alone.

    Returns:
        A model from `snippets` to `crops` float32 [crops * N, C, crop, crop]: the first
        crop of every snippet, then the second of every snippet, and so on, as TSN
        orders them, mean subtracted.
    """
    writer = NodeWriter((INPUT, CROPS))
    # First of all, for TensorRT's parser takes bytes in a Cast and nowhere else.
    planes = writer.node("Cast", [INPUT], "pixels", name="pixels", to=TensorProto.FLOAT)
    if spec.modality is Modality.RGB:
        planes = writer.node("Transpose", [planes], "planes", name="planes", perm=[0, 3, 1, 2])
    mean = writer.floats("mean", np.reshape(spec.mean, (-1, 1, 1)))
    centred = writer.node("Sub", [planes, mean], "centred", name="subtract_mean")
    crops = [_crop(writer, centred, offset, spec.crop_size) for offset in crop_offsets(spec)]
    if spec.crops_per_snippet == 1:
        writer.node("Identity", crops, CROPS, name="crops")
    else:
        plain = writer.node("Concat", crops, "plain_crops", name="plain_crops", axis=0)
        mirrored = _mirror(writer, plain, spec)
        writer.node("Concat", [plain, mirrored], CROPS, name="crops", axis=0)
    crop_shape: list[Dim] = ["N_crops", spec.channels, spec.crop_size, spec.crop_size]
    model = make_model(
        writer,
        name="crops",
        inputs=[
            helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["N", *spec.snippet_shape])
        ],
        outputs=[helper.make_tensor_value_info(CROPS, TensorProto.FLOAT, crop_shape)],
    )
    return check_model(model)


def _crop(writer: NodeWriter, source: str, offset: tuple[int, int], size: int) -> str:
    """Cut a square out of [N, C, H, W]."""
    top, left = offset
    name = writer.fresh(f"crop_{top}_{left}")
    bounds = [
        writer.integers(f"{name}.starts", [top, left]),
        writer.integers(f"{name}.ends", [top + size, left + size]),
        writer.integers(f"{name}.axes", [2, 3]),
    ]
    return writer.node("Slice", [source, *bounds], name, name=name)


def _mirror(writer: NodeWriter, crops: str, spec: ServingSpec) -> str:
    """Mirror crops from left to right; a mirrored flow x also points the other way.

    TSN inverts mirrored x planes as 255 - v before it subtracts the mean m. On centred
    values c = v - m that is (255 - 2 m) - c.
    """
    columns = writer.integers("mirror.columns", list(reversed(range(spec.crop_size))))
    flipped = writer.node("Gather", [crops, columns], "flipped", name="mirror", axis=3)
    if spec.modality is Modality.RGB:
        return flipped
    is_x = np.arange(spec.channels) % 2 == 0
    sign = np.where(is_x, -1.0, 1.0).reshape(-1, 1, 1)
    shift = np.where(is_x, 255.0 - 2 * np.asarray(spec.mean), 0.0).reshape(-1, 1, 1)
    signed = writer.node(
        "Mul", [flipped, writer.floats("mirror.sign", sign)], "signed", name="invert_x"
    )
    return writer.node(
        "Add", [signed, writer.floats("mirror.shift", shift)], "mirrored", name="restore_x"
    )


def _fusion_model(
    graph: Graph, spec: ServingSpec, heads: Heads, linear_heads: tuple[LinearHead, ...]
) -> onnx.ModelProto:
    """Build the mean over crops of scores and features, and the linear heads behind it."""
    sources = {SCORES: heads.scores, FEATURES: heads.features}
    writer = NodeWriter((SCORES, FEATURES, *(head.name for head in linear_heads)))
    inputs, outputs = [], []
    for output, blob in sources.items():
        dims = graph.blobs[blob].shape[1:]
        length = math.prod(dim for dim in dims if isinstance(dim, int))
        source = f"crops/{blob}"
        inputs.append(helper.make_tensor_value_info(source, TensorProto.FLOAT, ["N_crops", *dims]))
        outputs.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", length]))
        _write_mean_over_crops(writer, source, output, spec.crops_per_snippet, length)
    for head in linear_heads:
        weights = [
            writer.floats(f"{head.name}.weight", head.weight),
            writer.floats(f"{head.name}.bias", head.bias),
        ]
        writer.node("Gemm", [FEATURES, *weights], head.name, name=head.name, transB=1)
        shape: list[Dim] = ["N", len(head.bias)]
        outputs.append(helper.make_tensor_value_info(head.name, TensorProto.FLOAT, shape))
    return check_model(make_model(writer, name="fusion", inputs=inputs, outputs=outputs))


def _write_mean_over_crops(
    writer: NodeWriter, source: str, output: str, crops: int, length: int
) -> None:
    """Reduce [crops * N, length, ...] to [N, length]."""
    shape = writer.integers(f"{output}.shape", [crops, -1, length])
    by_crop = writer.node("Reshape", [source, shape], f"{output}/by_crop", name=f"{output}/by_crop")
    writer.node("ReduceMean", [by_crop], output, name=f"{output}/crop_fusion", axes=[0], keepdims=0)


def _network_input(graph: Graph) -> tuple[int, int]:
    """Return channels and side of the network's only input."""
    shapes = [value.shape for value in graph.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][2] != shapes[0][3]:
        raise SelectionError(
            f"{graph.source} takes inputs of shapes {[list(s) for s in shapes]}; a TSN network "
            "takes one of [N, channels, size, size]."
        )
    if shapes[0][0] != BATCH:
        raise SelectionError(
            f"{graph.source} mixes the rows of a batch, so snippets of different streams would "
            "change each other's scores. It converts with tsn-build convert, but cannot be served."
        )
    _, channels, size, _ = shapes[0]
    return int(channels), int(size)


def _blob_of(graph: Graph, value: str) -> str:
    """Return the Caffe blob that ends up as a value."""
    for blob, held in graph.blobs.items():
        if held.name == value:
            return blob
    raise SelectionError(
        f"{graph.source}: the blob {value.partition('@')[0]!r} is overwritten in place, so the "
        "classifier's input or output is lost after a forward pass. Give its layers separate tops."
    )


def classes(graph: Graph, heads: Heads) -> int:
    """Return the number of classes that the scores are over."""
    return math.prod(int(dim) for dim in graph.blobs[heads.scores].shape[1:])


def feature_length(graph: Graph, heads: Heads) -> int:
    """Return the number of features per snippet."""
    return math.prod(int(dim) for dim in graph.blobs[heads.features].shape[1:])
