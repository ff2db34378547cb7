"""What a daemon says about its models: plain values, and how they are read from its messages."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from tsnd.v1 import model_pb2, snippets_pb2
from tsnd_client.errors import BadReply


class Modality(StrEnum):
    """What a model's snippets are made of."""

    RGB = "rgb"
    FLOW = "flow"


_MODALITIES = {
    model_pb2.MODALITY_RGB: Modality.RGB,
    model_pb2.MODALITY_FLOW: Modality.FLOW,
}
WIRE_MODALITIES: Mapping[Modality | None, model_pb2.Modality.ValueType] = {
    **{modality: number for number, modality in _MODALITIES.items()},
    None: model_pb2.MODALITY_UNSPECIFIED,
}

_DATA_TYPES: Mapping[int, str] = {
    model_pb2.DATA_TYPE_UINT8: "uint8",
    model_pb2.DATA_TYPE_FLOAT32: "float32",
    model_pb2.DATA_TYPE_FLOAT16: "float16",
}

_PRECISIONS: Mapping[int, str] = {
    model_pb2.PRECISION_FP32: "fp32",
    model_pb2.PRECISION_FP16: "fp16",
    model_pb2.PRECISION_INT8: "int8",
}


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """One line of the daemon's list of models."""

    name: str
    version: int
    modality: Modality
    classes: int


@dataclass(frozen=True, slots=True)
class Pair:
    """A name that stands for the two models of a two-stream network.

    Attributes:
        name: The name.
        rgb_model: Name of the model that scores its rgb snippets.
        flow_model: Name of the model that scores its flow snippets.
    """

    name: str
    rgb_model: str
    flow_model: str


@dataclass(frozen=True, slots=True)
class OutputInfo:
    """One array that a model returns for each snippet.

    Attributes:
        name: Its name, such as scores or features.
        data_type: NumPy's name of its element type; empty for one that this client does
            not know.
        shape: Its shape for one snippet.
    """

    name: str
    data_type: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a model takes and returns.

    Attributes:
        name: Name of the model; for one of a pair its own, not the pair's.
        version: The version that is described here.
        modality: What its snippets are made of.
        frame_height: Height of the frames or flow planes to send, pixels.
        frame_width: Width of the frames or flow planes to send, pixels.
        stack_depth: Flow fields per snippet; 0 for rgb.
        crops_per_snippet: Crops that the model scores and averages per snippet.
        labels: Class names, in the order of the scores.
        max_batch_size: Most snippets that the daemon runs in one execution.
        max_group_size: Most snippets that the daemon takes in one message.
        address: The name that requests carry: the model's, or that of a pair.
        pinned_version: The version that requests carry; 0 lets the daemon take the newest,
            which may become another one than is described here.
        backend: What runs it, such as onnxruntime; empty when the daemon does not say.
        precision: fp32, fp16 or int8; empty when the daemon does not say.
        shared_memory: Whether the daemon takes pixels from memory that is shared with it.
        outputs: What it returns for each snippet.
    """

    name: str
    version: int
    modality: Modality
    frame_height: int
    frame_width: int
    stack_depth: int
    crops_per_snippet: int
    labels: tuple[str, ...]
    max_batch_size: int
    max_group_size: int
    address: str
    pinned_version: int = 0
    backend: str = ""
    precision: str = ""
    shared_memory: bool = False
    outputs: tuple[OutputInfo, ...] = ()

    @property
    def snippet_shape(self) -> tuple[int, int, int]:
        """Shape of a snippet's pixels: rgb [H, W, 3], flow [2 * stack_depth, H, W]."""
        if self.modality is Modality.FLOW:
            return (2 * self.stack_depth, self.frame_height, self.frame_width)
        return (self.frame_height, self.frame_width, 3)


def to_model_summaries(response: snippets_pb2.ListModelsResponse) -> tuple[ModelSummary, ...]:
    """Convert the list of models.

    Raises:
        BadReply: A model's modality is none that this client knows.
    """
    return tuple(
        ModelSummary(
            name=model.name,
            version=model.version,
            modality=_to_modality(model.name, model.modality),
            classes=model.classes,
        )
        for model in response.models
    )


def to_pairs(response: snippets_pb2.ListModelsResponse) -> tuple[Pair, ...]:
    """Convert the list of two-stream pairs."""
    return tuple(
        Pair(name=pair.name, rgb_model=pair.rgb_model, flow_model=pair.flow_model)
        for pair in response.pairs
    )


def to_model_request(
    name: str, modality: Modality | None, version: int
) -> snippets_pb2.GetModelRequest:
    """Make the request that describes a model, or one model of a pair."""
    return snippets_pb2.GetModelRequest(
        name=name, version=version, modality=WIRE_MODALITIES[modality]
    )


def to_model_info(
    response: snippets_pb2.GetModelResponse, *, address: str, version: int = 0
) -> ModelInfo:
    """Convert the description of one model.

    Args:
        response: The daemon's answer.
        address: The name that was asked for: a model's, or a pair's.
        version: The version that was asked for; 0 for the newest.

    Raises:
        BadReply: It describes another version, or its modality is none that this client
            knows.
    """
    manifest = response.manifest
    if version not in (0, manifest.version):
        raise BadReply(
            f"asked for version {version} of model {address!r}, the daemon described version "
            f"{manifest.version}"
        )
    return ModelInfo(
        name=manifest.name,
        version=manifest.version,
        modality=_to_modality(manifest.name, manifest.modality),
        frame_height=manifest.preprocessing.frame_height,
        frame_width=manifest.preprocessing.frame_width,
        stack_depth=manifest.preprocessing.stack_depth,
        crops_per_snippet=manifest.preprocessing.crops_per_snippet,
        labels=tuple(manifest.labels),
        max_batch_size=response.max_batch_size,
        # One snippet always travels, whatever a daemon says.
        max_group_size=max(1, response.max_group_size),
        address=address,
        pinned_version=version,
        backend=response.backend,
        precision=_PRECISIONS.get(response.precision, ""),
        shared_memory=response.shared_memory,
        outputs=tuple(map(_to_output, manifest.outputs)),
    )


def _to_output(spec: model_pb2.TensorSpec) -> OutputInfo:
    return OutputInfo(
        name=spec.name, data_type=_DATA_TYPES.get(spec.data_type, ""), shape=tuple(spec.shape)
    )


def _to_modality(model: str, number: model_pb2.Modality.ValueType) -> Modality:
    try:
        return _MODALITIES[number]
    except KeyError:
        raise BadReply(
            f"model {model!r} has modality {number}, which this client does not know: upgrade it"
        ) from None
