"""Dropout: passes its bottom on in the TEST phase, so it leaves no node behind."""

from tsnd_builder.layers.spec import LayerSpec, same_shapes

SPEC = LayerSpec(type="Dropout", infer_shapes=same_shapes, convert=None, in_place=True)
