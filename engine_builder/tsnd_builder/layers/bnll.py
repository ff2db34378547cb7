"""BNLL: log(1 + exp(x)), the binomial normal log likelihood."""

from tsnd_builder.layers.unary import unary_spec

SPEC = unary_spec("BNLL", "Softplus")
