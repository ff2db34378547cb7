"""MVN: subtracts the mean of each channel's image and divides by its deviation plus eps."""

from collections.abc import Sequence

from tsnd.caffe.net_pb2 import LayerParameter
from tsnd_builder.caffe.graph import Layer, Shape
from tsnd_builder.errors import LayerError
from tsnd_builder.layers.spec import LayerSpec
from tsnd_builder.onnx_writer import NodeWriter


def infer_shapes(parameters: LayerParameter, bottoms: Sequence[Shape]) -> Sequence[Shape]:
    """Keep the shape."""
    (bottom,) = bottoms
    if len(bottom) != 4:
        raise LayerError(f"its bottom has shape {list(bottom)}; MVN takes 4 axes.")
    if parameters.mvn_param.across_channels:
        raise LayerError(
            "with across_channels this branch of Caffe reads beyond the end of an array, so its "
            "result is undefined; normalize per channel."
        )
    return bottoms


def convert_mvn(layer: Layer, writer: NodeWriter) -> None:
    """Write mean, difference and deviation; eps is outside the root, unlike in ONNX."""
    (bottom,), (top,) = layer.bottoms, layer.tops
    mvn, image = layer.parameters.mvn_param, [2, 3]
    mean = writer.fresh(f"{layer.name}/mean")
    writer.node("ReduceMean", [bottom.name], mean, name=f"{layer.name}/mean", axes=image)
    if not mvn.normalize_variance:
        writer.node("Sub", [bottom.name, mean], top.name, name=layer.name)
        return
    centred, square, variance, deviation, divisor = (
        writer.fresh(f"{layer.name}/{key}")
        for key in ("centred", "square", "variance", "deviation", "divisor")
    )
    writer.node("Sub", [bottom.name, mean], centred, name=f"{layer.name}/centred")
    writer.node("Mul", [centred, centred], square, name=f"{layer.name}/square")
    writer.node("ReduceMean", [square], variance, name=f"{layer.name}/variance", axes=image)
    writer.node("Sqrt", [variance], deviation, name=f"{layer.name}/deviation")
    eps = writer.floats(f"{layer.name}.eps", mvn.eps)
    writer.node("Add", [deviation, eps], divisor, name=f"{layer.name}/divisor")
    writer.node("Div", [centred, divisor], top.name, name=layer.name)


SPEC = LayerSpec(type="MVN", infer_shapes=infer_shapes, convert=convert_mvn, in_place=True)
