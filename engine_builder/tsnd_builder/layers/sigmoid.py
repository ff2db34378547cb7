"""Sigmoid: 1 / (1 + exp(-x))."""

from tsnd_builder.layers.unary import unary_spec

SPEC = unary_spec("Sigmoid", "Sigmoid")
