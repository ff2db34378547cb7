"""Folds per-channel affine layers into the layer before: W' = W s, b' = b s + t.

Batch normalization is one, and so is the Scale behind upstream Caffe's BatchNorm. Computed
in float64 and rounded once, at the export, so the fold costs no accuracy.
"""

from dataclasses import replace

import numpy as np

from tsnd_builder.caffe.graph import Array, Graph, Layer
from tsnd_builder.layers.registry import LAYER_SPECS
from tsnd_builder.layers.spec import Affine


def fold_affine(graph: Graph, *, keep: tuple[str, ...]) -> Graph:
    """Fold each per-channel affine layer into a convolution or inner product before it.

    Args:
        graph: A net whose BN layers store variances.
        keep: Blobs whose content must survive, such as requested outputs.

    Returns:
        The net with fewer layers and the same result. A layer stays whose bottom somebody
        else reads, or that has nothing before it to be folded into.
    """
    kept_values = {graph.blobs[blob].name for blob in keep}
    readers = graph.consumers()
    layers: dict[str, Layer] = {}  # by the name of the first top, in execution order
    for layer in graph.layers:
        affine = LAYER_SPECS[layer.type].scale_and_shift
        bottom = layer.bottoms[0].name
        producer = layers.get(bottom)
        folds = (
            producer is not None
            and _folds(producer)
            and len(readers[bottom]) == 1
            and bottom not in kept_values
        )
        scale_and_shift = affine(layer) if affine and folds else None
        if producer is None or scale_and_shift is None:
            layers[layer.tops[0].name] = layer
            continue
        del layers[bottom]
        layers[layer.tops[0].name] = _fold(producer, layer, scale_and_shift)
    return replace(graph, layers=tuple(layers.values()))


def _folds(layer: Layer) -> bool:
    """Tell whether the channels (axis 1) of a layer's only top are the rows of its weight."""
    if layer.type == "InnerProduct":
        return len(layer.tops[0].shape) == 2
    return layer.type == "Convolution" and len(layer.tops) == 1


def _fold(layer: Layer, affine: Layer, scale_and_shift: Affine) -> Layer:
    scale, shift = scale_and_shift
    weight, *bias = (blob.astype(np.float64) for blob in layer.blobs)
    folded: tuple[Array, Array] = (
        weight * scale.reshape(-1, *[1] * (weight.ndim - 1)),
        (bias[0] * scale if bias else 0.0) + shift,
    )
    return replace(layer, blobs=folded, tops=affine.tops)
