"""Shifts biases so that quantization leaves the mean of every channel where it was.

Rounded weights times inputs of non-zero mean move a layer's output by a constant per
channel, which adds up through a deep net and costs nothing to take back (Nagel et al.,
Data-Free Quantization, ICCV 2019, section 4.2; here the shift is measured).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from tsnd_builder.inference import Floats, Frames, batches, open_session, with_outputs

_BATCH = 4
_INT32 = np.iinfo(np.int32)


@dataclass(frozen=True, slots=True)
class _Layer:
    """A quantized layer.

    Attributes:
        node: The node in the quantized graph.
        weight: What its weights are after rounding.
        scale: Name of the scale of its input.
        zero: Name of the zero point of its input.
    """

    node: onnx.NodeProto
    weight: Floats
    scale: str
    zero: str


def correct_biases(
    model: onnx.ModelProto, quantized: onnx.ModelProto, frames: Frames
) -> onnx.ModelProto:
    """Return the quantized graph with the measured shifts taken back.

    Layers without a bias stay as they are.

    Args:
        model: The graph before quantization.
        quantized: The same with Q/DQ nodes around its layers.
        frames: Snippets to measure on.
    """
    layers = list(_quantized_layers(quantized))
    if not layers:
        return quantized
    shifts = _measure(model, quantized, layers, frames)
    corrected = onnx.ModelProto()
    corrected.CopyFrom(quantized)
    constants = {t.name: t for t in corrected.graph.initializer}
    makers = _makers(corrected)
    for layer, shift in zip(layers, shifts, strict=True):
        _add_to_bias(layer.node.input[2], shift, constants, makers)
    return corrected


def _makers(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    return {value: node for node in model.graph.node for value in node.output}


def _quantized_layers(quantized: onnx.ModelProto) -> Iterator[_Layer]:
    """Find the convolutions whose input, weights and (maybe) bias are quantized."""
    constants = {t.name: numpy_helper.to_array(t) for t in quantized.graph.initializer}
    makers = _makers(quantized)
    for node in quantized.graph.node:
        sources = [makers.get(value) for value in node.input[:2]]
        if (
            node.op_type == "Conv"
            and len(node.input) == 3
            and all(
                source is not None and source.op_type == "DequantizeLinear" for source in sources
            )
        ):
            x, w = (source for source in sources if source is not None)
            weight = _dequantize(*(constants[name] for name in w.input))
            yield _Layer(node, weight, x.input[1], x.input[2])


def _dequantize(
    values: npt.NDArray[np.generic], scale: npt.NDArray[np.generic], zero: npt.NDArray[np.generic]
) -> Floats:
    """Return what quantized weights stand for, [out, ...] with one scale per out."""
    per_channel = (-1, *(1,) * (values.ndim - 1))
    centred = values.astype(np.float32) - zero.astype(np.float32).reshape(per_channel)
    return (centred * scale.astype(np.float32).reshape(per_channel)).astype(np.float32)


def _measure(
    model: onnx.ModelProto, quantized: onnx.ModelProto, layers: list[_Layer], frames: Frames
) -> list[npt.NDArray[np.float64]]:
    """Return, per layer and channel, the mean of what quantizing the layer alone takes away.

    Beside each layer of the float graph its quantized twin reads the same input.
    """
    shifts = [f"{layer.node.name}!shift" for layer in layers]
    both = with_outputs(model, shifts)
    originals = {node.name: node for node in model.graph.node}
    constants = {t.name: t for t in quantized.graph.initializer}
    used = {name: constants[name] for layer in layers for name in (layer.scale, layer.zero)}
    both.graph.initializer.extend(used.values())
    for layer, shift in zip(layers, shifts, strict=True):
        _add_twin(both.graph, originals[layer.node.name], layer, shift)
    session = open_session(both, exact_int8=True)
    (source,) = (i.name for i in session.get_inputs())
    sums = [np.zeros(len(layer.weight)) for layer in layers]
    for batch in batches(frames, _BATCH):
        means = session.run(shifts, {source: batch})
        for index, mean in enumerate(means):
            sums[index] += mean.astype(np.float64) * len(batch)
    return [total / len(frames) for total in sums]


def _add_twin(graph: onnx.GraphProto, node: onnx.NodeProto, layer: _Layer, shift: str) -> None:
    name = node.name
    rounded, weight, twin, lost = (f"{name}!{part}" for part in ("x", "weight", "twin", "lost"))
    graph.initializer.append(numpy_helper.from_array(layer.weight, weight))
    convolution = helper.make_node(
        "Conv", [f"{rounded}/float", weight, node.input[2]], [twin], name=twin
    )
    convolution.attribute.extend(node.attribute)
    parameters = [layer.scale, layer.zero]
    graph.node.extend(
        (
            helper.make_node("QuantizeLinear", [node.input[0], *parameters], [rounded]),
            helper.make_node("DequantizeLinear", [rounded, *parameters], [f"{rounded}/float"]),
            convolution,
            helper.make_node("Sub", [node.output[0], twin], [lost]),
            helper.make_node("ReduceMean", [lost], [shift], axes=[0, 2, 3], keepdims=0),
        )
    )


def _add_to_bias(
    bias: str,
    shift: npt.NDArray[np.float64],
    constants: Mapping[str, onnx.TensorProto],
    makers: Mapping[str, onnx.NodeProto],
) -> None:
    """Add to a bias in place: a float constant, or int32 behind a DequantizeLinear."""
    if bias in constants:
        values = numpy_helper.to_array(constants[bias]) + shift
        constants[bias].CopyFrom(numpy_helper.from_array(values.astype(np.float32), bias))
        return
    name, scale = makers[bias].input[:2]
    steps = np.rint(shift / numpy_helper.to_array(constants[scale]).astype(np.float64))
    total = numpy_helper.to_array(constants[name]).astype(np.float64) + steps
    values = np.clip(total, _INT32.min, _INT32.max).astype(np.int32)
    constants[name].CopyFrom(numpy_helper.from_array(values, name))
