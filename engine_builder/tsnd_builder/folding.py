"""Folds batch normalization into the layer before it: W' = W s, b' = b s + t.

Computed in float64 and rounded once, so the fold costs no accuracy.
"""

from dataclasses import replace

import numpy as np

from tsnd_builder.caffe.graph import Array, Graph, Layer
from tsnd_builder.layers.batch_norm import scale_and_shift


def fold_batch_norm(graph: Graph, *, keep: tuple[str, ...]) -> Graph:
    """Fold each BN whose bottom is a convolution or inner product that nobody else reads.

    Args:
        graph: A net whose BN layers store variances.
        keep: Blobs whose content must survive, such as requested outputs.

    Returns:
        The net with fewer layers and the same result; a BN that does not fold stays.
    """
    kept_values = {graph.blobs[blob].name for blob in keep}
    producers = {top.name: layer for layer in graph.layers for top in layer.tops}
    readers = graph.consumers()
    folded: dict[str, Layer] = {}
    absorbed: set[str] = set()
    for layer in graph.layers:
        bottom = layer.bottoms[0].name
        producer = producers.get(bottom)
        if layer.type != "BN" or producer is None or not _folds(producer):
            continue
        if len(readers[bottom]) == 1 and bottom not in kept_values:
            folded[producer.tops[0].name] = _fold(producer, layer)
            absorbed.add(layer.tops[0].name)
    layers = (
        folded.get(layer.tops[0].name, layer)
        for layer in graph.layers
        if layer.tops[0].name not in absorbed
    )
    return replace(graph, layers=tuple(layers))


def _folds(layer: Layer) -> bool:
    """Tell whether the channels (axis 1) of a layer's only top are the rows of its weight."""
    if layer.type == "InnerProduct":
        return len(layer.tops[0].shape) == 2
    return layer.type == "Convolution" and len(layer.tops) == 1


def _fold(layer: Layer, batch_norm: Layer) -> Layer:
    scale, shift = scale_and_shift(batch_norm)
    weight, *bias = (blob.astype(np.float64) for blob in layer.blobs)
    folded: tuple[Array, Array] = (
        (weight * scale.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.float32),
        ((bias[0] * scale if bias else 0.0) + shift).astype(np.float32),
    )
    return replace(layer, blobs=folded, tops=batch_norm.tops)
