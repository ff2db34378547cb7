"""BN-Inception in the variant of TSN's Caffe models, written from a table.

Ioffe & Szegedy, "Batch Normalization", 2015, figure 5: a BN and a ReLU behind every
convolution, pooling that rounds up.
"""

from dataclasses import dataclass
from typing import Literal

from tsnd.caffe.net_pb2 import LayerParameter, NetParameter, PoolingParameter

_MAX, _AVE = PoolingParameter.MAX, PoolingParameter.AVE


@dataclass(frozen=True, slots=True)
class _Block:
    """One inception block: channels of its branches.

    Attributes:
        name: Such as `3a`.
        single: The 1x1 branch; 0 in the blocks that halve the image.
        reduce3: The 1x1 before the 3x3.
        conv3: The 3x3.
        reduce5: The 1x1 before the two 3x3.
        conv5: Each of the two 3x3.
        pool: What the pooling branch pools by.
        project: The 1x1 behind the pool; 0 in the blocks that halve the image.
    """

    name: str
    single: int
    reduce3: int
    conv3: int
    reduce5: int
    conv5: int
    pool: Literal["max", "average"]
    project: int


_BN_INCEPTION = (
    _Block("3a", 64, 64, 64, 64, 96, "average", 32),
    _Block("3b", 64, 64, 96, 64, 96, "average", 64),
    _Block("3c", 0, 128, 160, 64, 96, "max", 0),
    _Block("4a", 224, 64, 96, 96, 128, "average", 128),
    _Block("4b", 192, 96, 128, 96, 128, "average", 128),
    _Block("4c", 160, 128, 160, 128, 160, "average", 128),
    _Block("4d", 96, 128, 192, 160, 192, "average", 128),
    _Block("4e", 0, 128, 192, 192, 256, "max", 0),
    _Block("5a", 352, 192, 320, 160, 224, "average", 128),
    _Block("5b", 352, 192, 320, 192, 224, "max", 128),
)


def bn_inception(*, channels: int, classes: int) -> NetParameter:
    """Describe BN-Inception as TSN deploys it.

    Args:
        channels: Input channels: 3 for rgb, 10 for a stack of five flow fields.
        classes: Outputs of the classifier `fc-action`.

    Returns:
        A deploy net with the published layer and blob names; input [1, channels, 224, 224].
    """
    net = NetParameter(name="BN-Inception", input=["data"], input_dim=[1, channels, 224, 224])
    top = _conv(net, "conv1/7x7_s2", "data", 64, kernel=7, stride=2, pad=3)
    top = _pool(net, "pool1/3x3_s2", top, _MAX, kernel=3, stride=2)
    top = _conv(net, "conv2/3x3_reduce", top, 64)
    top = _conv(net, "conv2/3x3", top, 192, kernel=3, pad=1)
    top = _pool(net, "pool2/3x3_s2", top, _MAX, kernel=3, stride=2)
    for block in _BN_INCEPTION:
        top = _inception(net, block, top)
    top = _pool(net, "global_pool", top, _AVE, kernel=7)
    dropout = _layer(net, "dropout", "Dropout", top, top)
    dropout.dropout_param.dropout_ratio = 0.8
    classifier = _layer(net, "fc-action", "InnerProduct", top, "fc-action")
    classifier.inner_product_param.num_output = classes
    return net


def _inception(net: NetParameter, block: _Block, bottom: str) -> str:
    name, stride = f"inception_{block.name}", 1 if block.single else 2
    branches = []
    if block.single:
        branches.append(_conv(net, f"{name}/1x1", bottom, block.single))
    top = _conv(net, f"{name}/3x3_reduce", bottom, block.reduce3)
    branches.append(_conv(net, f"{name}/3x3", top, block.conv3, kernel=3, stride=stride, pad=1))
    top = _conv(net, f"{name}/double_3x3_reduce", bottom, block.reduce5)
    top = _conv(net, f"{name}/double_3x3_1", top, block.conv5, kernel=3, pad=1)
    branches.append(
        _conv(net, f"{name}/double_3x3_2", top, block.conv5, kernel=3, stride=stride, pad=1)
    )
    method = _MAX if block.pool == "max" else _AVE
    top = _pool(net, f"{name}/pool", bottom, method, kernel=3, stride=stride, pad=stride % 2)
    branches.append(_conv(net, f"{name}/pool_proj", top, block.project) if block.project else top)
    join = _layer(net, f"{name}/output", "Concat", branches[0], f"{name}/output")
    join.bottom.extend(branches[1:])
    return join.top[0]


def _conv(
    net: NetParameter,
    name: str,
    bottom: str,
    channels: int,
    *,
    kernel: int = 1,
    stride: int = 1,
    pad: int = 0,
) -> str:
    """Append convolution, BN and, in place, ReLU."""
    conv = _layer(net, name, "Convolution", bottom, name).convolution_param
    conv.num_output, conv.kernel_size, conv.stride, conv.pad = channels, kernel, stride, pad
    normalized = f"{name}_bn"
    _layer(net, normalized, "BN", name, normalized).bn_param.frozen = True
    folder, _, short = name.removesuffix("_s2").rpartition("/")
    _layer(net, f"{folder}/relu_{short}", "ReLU", normalized, normalized)
    return normalized


def _pool(
    net: NetParameter,
    name: str,
    bottom: str,
    method: PoolingParameter.PoolMethod.ValueType,
    *,
    kernel: int,
    stride: int = 1,
    pad: int = 0,
) -> str:
    pool = _layer(net, name, "Pooling", bottom, name).pooling_param
    pool.pool, pool.kernel_size, pool.stride, pool.pad = method, kernel, stride, pad
    return name


def _layer(net: NetParameter, name: str, kind: str, bottom: str, top: str) -> LayerParameter:
    return net.layer.add(name=name, type=kind, bottom=[bottom], top=[top])
