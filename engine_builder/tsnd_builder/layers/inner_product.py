"""InnerProduct: a fully connected layer over all axes from `axis` on."""

from collections.abc import Sequence

from tsnd.caffe.net_pb2 import LayerParameter
from tsnd_builder.caffe.graph import Layer, Shape
from tsnd_builder.errors import LayerError
from tsnd_builder.layers.spec import LayerSpec, canonical_axis, fixed_size
from tsnd_builder.onnx_writer import NodeWriter


def infer_shapes(parameters: LayerParameter, bottoms: Sequence[Shape]) -> list[Shape]:
    """Replace the axes from `axis` on by one of num_output elements."""
    (bottom,) = bottoms
    inner = parameters.inner_product_param
    if inner.num_output < 1:
        raise LayerError("num_output is not set; it must be at least 1.")
    axis = canonical_axis(inner.axis, bottom)
    fixed_size(bottom, axis)
    return [(*bottom[:axis], inner.num_output)]


def blob_shapes(parameters: LayerParameter, bottoms: Sequence[Shape]) -> list[tuple[int, ...]]:
    """Weight [num_output, K], K being the flattened length, then bias [num_output]."""
    inner = parameters.inner_product_param
    length = fixed_size(bottoms[0], canonical_axis(inner.axis, bottoms[0]))
    weight = (inner.num_output, length)
    return [weight, (inner.num_output,)] if inner.bias_term else [weight]


def convert_inner_product(layer: Layer, writer: NodeWriter) -> None:
    """Write Flatten and Gemm, or Reshape, MatMul and Add when several axes remain."""
    (bottom,), (top,) = layer.bottoms, layer.tops
    axis = canonical_axis(layer.parameters.inner_product_param.axis, bottom.shape)
    if axis == 1:
        _write_gemm(layer, bottom.name, len(bottom.shape), writer)
        return
    weight, *bias = layer.blobs
    length = fixed_size(bottom.shape, axis)
    shape = writer.integers(f"{layer.name}.shape", [0] * axis + [length])
    rows = writer.fresh(f"{layer.name}/rows")
    writer.node("Reshape", [bottom.name, shape], rows, name=f"{layer.name}/reshape")
    operand = writer.floats(f"{layer.name}.weight", weight.T)
    product = writer.fresh(f"{layer.name}/product") if bias else top.name
    writer.node("MatMul", [rows, operand], product, name=layer.name)
    if bias:
        added = writer.floats(f"{layer.name}.bias", bias[0])
        writer.node("Add", [product, added], top.name, name=f"{layer.name}/add")


def _write_gemm(layer: Layer, source: str, rank: int, writer: NodeWriter) -> None:
    names = ["weight", "bias"]
    weights = [
        writer.floats(f"{layer.name}.{name}", blob)
        for name, blob in zip(names, layer.blobs, strict=False)
    ]
    if rank > 2:
        flat = writer.fresh(f"{layer.name}/flat")
        source = writer.node("Flatten", [source], flat, name=f"{layer.name}/flatten", axis=1)
    writer.node("Gemm", [source, *weights], layer.tops[0].name, name=layer.name, transB=1)


SPEC = LayerSpec(
    type="InnerProduct",
    infer_shapes=infer_shapes,
    blob_shapes=blob_shapes,
    convert=convert_inner_product,
)
