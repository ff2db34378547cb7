"""TanH: the hyperbolic tangent."""

from tsnd_builder.layers.unary import unary_spec

SPEC = unary_spec("TanH", "Tanh")
