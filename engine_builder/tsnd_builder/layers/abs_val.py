"""AbsVal: the absolute value."""

from tsnd_builder.layers.unary import unary_spec

SPEC = unary_spec("AbsVal", "Abs")
