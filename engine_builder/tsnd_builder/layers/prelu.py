"""PReLU: max(x, 0) + slope * min(x, 0), the slope learned per channel or shared."""

from collections.abc import Sequence

from tsnd.caffe.net_pb2 import LayerParameter
from tsnd_builder.caffe.graph import Layer, Shape
from tsnd_builder.errors import LayerError
from tsnd_builder.layers.spec import LayerSpec, fixed_dims
from tsnd_builder.onnx_writer import NodeWriter


def infer_shapes(_parameters: LayerParameter, bottoms: Sequence[Shape]) -> Sequence[Shape]:
    """Keep the shape; channels are axis 1."""
    (bottom,) = bottoms
    if len(bottom) < 2:
        raise LayerError(f"its bottom has shape {list(bottom)}; PReLU needs a channel axis.")
    return bottoms


def blob_shapes(parameters: LayerParameter, bottoms: Sequence[Shape]) -> list[tuple[int, ...]]:
    """One slope per channel [C], or one for all []."""
    if parameters.prelu_param.channel_shared:
        return [()]
    return [fixed_dims(bottoms[0][:2], 1)]


def convert_prelu(layer: Layer, writer: NodeWriter) -> None:
    """Write a PRelu, whose slope lines up with the channels."""
    (bottom,), (top,) = layer.bottoms, layer.tops
    slope = layer.blobs[0].reshape(-1, *[1] * (len(bottom.shape) - 2))
    names = [bottom.name, writer.floats(f"{layer.name}.slope", slope)]
    writer.node("PRelu", names, top.name, name=layer.name)


SPEC = LayerSpec(
    type="PReLU",
    infer_shapes=infer_shapes,
    blob_shapes=blob_shapes,
    convert=convert_prelu,
    in_place=True,
)
