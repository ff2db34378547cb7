"""Upgrades nets in Caffe's V0 and V1 formats, as Caffe does on reading (upgrade_proto.cpp)."""

from pathlib import Path

from google.protobuf.message import Message

from tsnd.caffe.net_pb2 import (
    LayerParameter,
    NetParameter,
    V1LayerParameter,
)
from tsnd_builder.errors import PrototxtError

_V1 = V1LayerParameter
V1_TYPES: dict[int, str] = {
    _V1.NONE: "",
    _V1.ABSVAL: "AbsVal",
    _V1.ACCURACY: "Accuracy",
    _V1.ARGMAX: "ArgMax",
    _V1.BNLL: "BNLL",
    _V1.CONCAT: "Concat",
    _V1.CONTRASTIVE_LOSS: "ContrastiveLoss",
    _V1.CONVOLUTION: "Convolution",
    _V1.DATA: "Data",
    _V1.DECONVOLUTION: "Deconvolution",
    _V1.DROPOUT: "Dropout",
    _V1.DUMMY_DATA: "DummyData",
    _V1.ELTWISE: "Eltwise",
    _V1.EUCLIDEAN_LOSS: "EuclideanLoss",
    _V1.EXP: "Exp",
    _V1.FLATTEN: "Flatten",
    _V1.HDF5_DATA: "HDF5Data",
    _V1.HDF5_OUTPUT: "HDF5Output",
    _V1.HINGE_LOSS: "HingeLoss",
    _V1.IM2COL: "Im2col",
    _V1.IMAGE_DATA: "ImageData",
    _V1.INFOGAIN_LOSS: "InfogainLoss",
    _V1.INNER_PRODUCT: "InnerProduct",
    _V1.LRN: "LRN",
    _V1.MEMORY_DATA: "MemoryData",
    _V1.MULTINOMIAL_LOGISTIC_LOSS: "MultinomialLogisticLoss",
    _V1.MVN: "MVN",
    _V1.POOLING: "Pooling",
    _V1.POWER: "Power",
    _V1.RELU: "ReLU",
    _V1.SIGMOID: "Sigmoid",
    _V1.SIGMOID_CROSS_ENTROPY_LOSS: "SigmoidCrossEntropyLoss",
    _V1.SILENCE: "Silence",
    _V1.SLICE: "Slice",
    _V1.SOFTMAX: "Softmax",
    _V1.SOFTMAX_LOSS: "SoftmaxWithLoss",
    _V1.SPLIT: "Split",
    _V1.TANH: "TanH",
    _V1.THRESHOLD: "Threshold",
    _V1.WINDOW_DATA: "WindowData",
}
V0_TYPES: dict[str, str] = {
    "accuracy": "Accuracy",
    "bnll": "BNLL",
    "concat": "Concat",
    "conv": "Convolution",
    "data": "Data",
    "dropout": "Dropout",
    "euclidean_loss": "EuclideanLoss",
    "flatten": "Flatten",
    "hdf5_data": "HDF5Data",
    "hdf5_output": "HDF5Output",
    "im2col": "Im2col",
    "images": "ImageData",
    "infogain_loss": "InfogainLoss",
    "innerproduct": "InnerProduct",
    "lrn": "LRN",
    "multinomial_logistic_loss": "MultinomialLogisticLoss",
    "pool": "Pooling",
    "relu": "ReLU",
    "sigmoid": "Sigmoid",
    "softmax": "Softmax",
    "softmax_loss": "SoftmaxWithLoss",
    "split": "Split",
    "tanh": "TanH",
    "window_data": "WindowData",
}
_PADDING = "padding"
_PARAMETERS = [field.name for field in _V1.DESCRIPTOR.fields if field.name.endswith("_param")]


def upgraded(net: NetParameter, source: Path) -> NetParameter:
    """Return a net in the present format.

    Args:
        net: A net in any format. One with layers of V1 or V0 keeps only those, as in Caffe.
        source: The file, for messages.

    Raises:
        PrototxtError: When it mixes V0 and V1, or a V0 layer cannot be upgraded.
    """
    if not net.layers:
        return net
    are_v0 = {layer.HasField("layer") for layer in net.layers}
    if len(are_v0) > 1:
        raise PrototxtError(f"{source} mixes layers of the V0 and V1 formats; use one of them.")
    result = NetParameter()
    result.CopyFrom(net)
    del result.layer[:], result.layers[:]
    if are_v0 == {True}:
        result.layer.extend(_from_v0(layer, source) for layer in _without_padding(net, source))
    else:
        result.layer.extend(_from_v1(layer) for layer in net.layers)
    return result


def v1_type(layer: V1LayerParameter) -> str:
    """Return the present name of the type of a V1 or V0 layer."""
    if layer.HasField("layer"):
        return V0_TYPES.get(layer.layer.type, layer.layer.type)
    return V1_TYPES[layer.type]


def _from_v1(old: V1LayerParameter) -> LayerParameter:
    layer = LayerParameter(name=old.name, type=V1_TYPES[old.type])
    layer.bottom.extend(old.bottom)
    layer.top.extend(old.top)
    layer.include.extend(old.include)
    layer.exclude.extend(old.exclude)
    for name in _PARAMETERS:
        if old.HasField(name):  # type: ignore[arg-type]  # names come from the descriptor
            getattr(layer, name).CopyFrom(getattr(old, name))
    return layer


def _without_padding(net: NetParameter, source: Path) -> list[V1LayerParameter]:
    """Merge V0's padding layers into the convolutions and pools that read them."""
    producers: dict[str, V1LayerParameter] = {}
    kept = []
    for original in net.layers:
        layer = V1LayerParameter()
        layer.CopyFrom(original)
        for index, blob in enumerate(layer.bottom):
            producer = producers.get(blob)
            if producer is None or producer.layer.type != _PADDING:
                continue
            if layer.layer.type not in {"conv", "pool"}:
                raise PrototxtError(
                    f"{source}, layer {layer.layer.name!r}: a padding layer can only be read by a "
                    "conv or pool layer."
                )
            layer.layer.pad = producer.layer.pad
            layer.bottom[index] = producer.bottom[0]
        if layer.layer.type == _PADDING and (len(layer.bottom), len(layer.top)) != (1, 1):
            raise PrototxtError(
                f"{source}, layer {layer.layer.name!r}: a padding layer has one bottom and one top."
            )
        producers.update(dict.fromkeys(layer.top, layer))
        if layer.layer.type != _PADDING:
            kept.append(layer)
    return kept


def _from_v0(old: V1LayerParameter, source: Path) -> LayerParameter:
    flat = old.layer
    if flat.type not in V0_TYPES:
        raise PrototxtError(
            f"{source}, layer {flat.name!r}: the V0 format has no layer type {flat.type!r}."
        )
    layer = LayerParameter(name=flat.name, type=V0_TYPES[flat.type])
    layer.bottom.extend(old.bottom)
    layer.top.extend(old.top)
    for field, _ in flat.ListFields():
        target = _TARGETS.get((flat.type, field.name))
        if target is not None:
            _set(layer, target, field.name, flat)
        elif field.name in _V0_SETTINGS:
            raise PrototxtError(
                f"{source}, layer {flat.name!r}: a V0 layer of type {flat.type!r} has no setting "
                f"{field.name!r}."
            )
    return layer


_TARGETS: dict[tuple[str, str], tuple[str, str]] = {
    ("conv", "num_output"): ("convolution_param", "num_output"),
    ("conv", "biasterm"): ("convolution_param", "bias_term"),
    ("conv", "pad"): ("convolution_param", "pad"),
    ("conv", "kernelsize"): ("convolution_param", "kernel_size"),
    ("conv", "group"): ("convolution_param", "group"),
    ("conv", "stride"): ("convolution_param", "stride"),
    ("innerproduct", "num_output"): ("inner_product_param", "num_output"),
    ("innerproduct", "biasterm"): ("inner_product_param", "bias_term"),
    ("pool", "pad"): ("pooling_param", "pad"),
    ("pool", "kernelsize"): ("pooling_param", "kernel_size"),
    ("pool", "stride"): ("pooling_param", "stride"),
    ("pool", "pool"): ("pooling_param", "pool"),
    ("dropout", "dropout_ratio"): ("dropout_param", "dropout_ratio"),
    ("lrn", "local_size"): ("lrn_param", "local_size"),
    ("lrn", "alpha"): ("lrn_param", "alpha"),
    ("lrn", "beta"): ("lrn_param", "beta"),
    ("lrn", "k"): ("lrn_param", "k"),
    ("concat", "concat_dim"): ("concat_param", "concat_dim"),
}
"""Where a setting of a V0 layer type belongs: parameter message and field."""

_V0_SETTINGS = frozenset(setting for _, setting in _TARGETS)


def _set(layer: LayerParameter, target: tuple[str, str], setting: str, flat: Message) -> None:
    parameters, field = target
    setattr(getattr(layer, parameters), field, getattr(flat, setting))
