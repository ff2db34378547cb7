"""Inception V3 as CUHK trained it in Caffe for TSN, written from a table.

It is the network of December 2015 (Szegedy et al., "Rethinking the Inception
Architecture"), with four differences: the factorized kernels come in the other order,
that is the net is the transpose of the usual one; the pool of the last block takes the
maximum; convolutions have a bias; eps is Caffe's 1e-5. Names are those of the TensorFlow
graph that it was made from.
"""

from dataclasses import dataclass
from typing import Literal

from tsnd.caffe.net_pb2 import LayerParameter, NetParameter, PoolingParameter

Size = tuple[int, int]
_SQUARE1, _SQUARE3, _SQUARE5 = (1, 1), (3, 3), (5, 5)
_COLUMN7, _ROW7, _COLUMN3, _ROW3 = (7, 1), (1, 7), (3, 1), (1, 3)  # height x width


@dataclass(frozen=True, slots=True)
class _Conv:
    """A convolution with its BN and ReLU; `same` pads so that the image keeps its size."""

    name: str
    channels: int
    kernel: Size = _SQUARE1
    stride: int = 1
    same: bool = True


@dataclass(frozen=True, slots=True)
class _Pool:
    """A 3 x 3 pool; with stride 1 it is padded, with stride 2 it is not."""

    name: str
    kind: Literal["max", "average"]
    stride: int = 1


@dataclass(frozen=True, slots=True)
class _Branch:
    """Steps one behind the other, and at the end, in some blocks, two side by side."""

    steps: tuple[_Conv | _Pool, ...]
    ends: tuple[_Conv, ...] = ()


@dataclass(frozen=True, slots=True)
class _Block:
    """Branches that read the same blob and are joined."""

    name: str
    branches: tuple[_Branch, ...]


_STEM = (
    _Conv("conv", 32, _SQUARE3, stride=2, same=False),
    _Conv("conv_1", 32, _SQUARE3, same=False),
    _Conv("conv_2", 64, _SQUARE3),
    _Pool("pool", "max", stride=2),
    _Conv("conv_3", 80),
    _Conv("conv_4", 192, _SQUARE3, same=False),
    _Pool("pool_1", "max", stride=2),
)


def _at_35(name: str, project: int) -> _Block:
    """A block on 35 x 35 images."""
    return _Block(
        name,
        (
            _Branch((_Conv("conv", 64),)),
            _Branch((_Conv("tower_conv", 48), _Conv("tower_conv_1", 64, _SQUARE5))),
            _Branch(
                (
                    _Conv("tower_1_conv", 64),
                    _Conv("tower_1_conv_1", 96, _SQUARE3),
                    _Conv("tower_1_conv_2", 96, _SQUARE3),
                )
            ),
            _Branch((_Pool("tower_2_pool", "average"), _Conv("tower_2_conv", project))),
        ),
    )


def _at_17(name: str, width: int) -> _Block:
    """A block on 17 x 17 images, with factorized 7 x 7 kernels."""
    return _Block(
        name,
        (
            _Branch((_Conv("conv", 192),)),
            _Branch(
                (
                    _Conv("tower_conv", width),
                    _Conv("tower_conv_1", width, _COLUMN7),
                    _Conv("tower_conv_2", 192, _ROW7),
                )
            ),
            _Branch(
                (
                    _Conv("tower_1_conv", width),
                    _Conv("tower_1_conv_1", width, _ROW7),
                    _Conv("tower_1_conv_2", width, _COLUMN7),
                    _Conv("tower_1_conv_3", width, _ROW7),
                    _Conv("tower_1_conv_4", 192, _COLUMN7),
                )
            ),
            _Branch((_Pool("tower_2_pool", "average"), _Conv("tower_2_conv", 192))),
        ),
    )


def _at_8(name: str, pool: Literal["max", "average"]) -> _Block:
    """A block on 8 x 8 images, two of whose branches end in a column and a row."""
    return _Block(
        name,
        (
            _Branch((_Conv("conv", 320),)),
            _Branch(
                (_Conv("tower_conv", 384),),
                (
                    _Conv("tower_mixed_conv", 384, _COLUMN3),
                    _Conv("tower_mixed_conv_1", 384, _ROW3),
                ),
            ),
            _Branch(
                (_Conv("tower_1_conv", 448), _Conv("tower_1_conv_1", 384, _SQUARE3)),
                (
                    _Conv("tower_1_mixed_conv", 384, _COLUMN3),
                    _Conv("tower_1_mixed_conv_1", 384, _ROW3),
                ),
            ),
            _Branch((_Pool("tower_2_pool", pool), _Conv("tower_2_conv", 192))),
        ),
    )


_BLOCKS = (
    _at_35("mixed", 32),
    _at_35("mixed_1", 64),
    _at_35("mixed_2", 64),
    _Block(
        "mixed_3",
        (
            _Branch((_Conv("conv", 384, _SQUARE3, stride=2, same=False),)),
            _Branch(
                (
                    _Conv("tower_conv", 64),
                    _Conv("tower_conv_1", 96, _SQUARE3),
                    _Conv("tower_conv_2", 96, _SQUARE3, stride=2, same=False),
                )
            ),
            _Branch((_Pool("pool", "max", stride=2),)),
        ),
    ),
    _at_17("mixed_4", 128),
    _at_17("mixed_5", 160),
    _at_17("mixed_6", 160),
    _at_17("mixed_7", 192),
    _Block(
        "mixed_8",
        (
            _Branch(
                (
                    _Conv("tower_conv", 192),
                    _Conv("tower_conv_1", 320, _SQUARE3, stride=2, same=False),
                )
            ),
            _Branch(
                (
                    _Conv("tower_1_conv", 192),
                    _Conv("tower_1_conv_1", 192, _COLUMN7),
                    _Conv("tower_1_conv_2", 192, _ROW7),
                    _Conv("tower_1_conv_3", 192, _SQUARE3, stride=2, same=False),
                )
            ),
            _Branch((_Pool("pool", "max", stride=2),)),
        ),
    ),
    _at_8("mixed_9", "average"),
    _at_8("mixed_10", "max"),
)


def inception_v3(*, channels: int, classes: int) -> NetParameter:
    """Describe Inception V3 as TSN deploys it.

    Args:
        channels: Input channels: 3 for rgb, 10 for a stack of five flow fields.
        classes: Outputs of the classifier `fc_action`.

    Returns:
        A deploy net with input [1, channels, 299, 299].
    """
    net = NetParameter(name="InceptionV3", input=["data"], input_dim=[1, channels, 299, 299])
    top = "data"
    for step in _STEM:
        top = _step(net, step, top, prefix="")
    for block in _BLOCKS:
        top = _block(net, block, top)
    pool = _layer(net, "top_cls_pool", "Pooling", [top], "top_cls_global_pool").pooling_param
    pool.pool, pool.kernel_size, pool.stride = PoolingParameter.AVE, 8, 1
    dropout = _layer(
        net, "top_cls_dropout", "Dropout", ["top_cls_global_pool"], "top_cls_global_pool"
    )
    dropout.dropout_param.dropout_ratio = 0.8
    classifier = _layer(net, "fc_action", "InnerProduct", ["top_cls_global_pool"], "fc_action")
    classifier.inner_product_param.num_output = classes
    return net


def _block(net: NetParameter, block: _Block, bottom: str) -> str:
    prefix, tops = f"{block.name}_", []
    for branch in block.branches:
        top = bottom
        for step in branch.steps:
            top = _step(net, step, top, prefix)
        tops += [_step(net, end, top, prefix) for end in branch.ends] or [top]
    return _layer(net, f"{prefix}join", "Concat", tops, f"{prefix}join").top[0]


def _step(net: NetParameter, step: _Conv | _Pool, bottom: str, prefix: str) -> str:
    name = f"{prefix}{step.name}"
    if isinstance(step, _Pool):
        pool = _layer(net, name, "Pooling", [bottom], name).pooling_param
        pool.pool = PoolingParameter.MAX if step.kind == "max" else PoolingParameter.AVE
        pool.kernel_size, pool.stride, pool.pad = 3, step.stride, 2 - step.stride
        return name
    conv = _layer(net, f"{name}_Conv2D", "Convolution", [bottom], f"{name}_Conv2D")
    settings = conv.convolution_param
    settings.num_output = step.channels
    settings.kernel_h, settings.kernel_w = step.kernel
    settings.stride_h = settings.stride_w = step.stride
    settings.pad_h, settings.pad_w = ((k - 1) // 2 if step.same else 0 for k in step.kernel)
    _layer(net, f"{name}_batchnorm", "BN", [f"{name}_Conv2D"], name).bn_param.SetInParent()
    _layer(net, name, "ReLU", [name], name)
    return name


def _layer(net: NetParameter, name: str, kind: str, bottoms: list[str], top: str) -> LayerParameter:
    return net.layer.add(name=name, type=kind, bottom=bottoms, top=[top])
