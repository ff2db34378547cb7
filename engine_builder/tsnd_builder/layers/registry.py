"""The layer types that can be converted. To add one: its file, and a line here."""

from tsnd_builder.layers import (
    batch_norm,
    concat,
    convolution,
    dropout,
    inner_product,
    pooling,
    relu,
    softmax,
)
from tsnd_builder.layers.spec import LayerSpec

LAYER_SPECS: dict[str, LayerSpec] = {
    spec.type: spec
    for spec in (
        batch_norm.SPEC,
        concat.SPEC,
        convolution.SPEC,
        dropout.SPEC,
        inner_product.SPEC,
        pooling.SPEC,
        relu.SPEC,
        softmax.SPEC,
    )
}
