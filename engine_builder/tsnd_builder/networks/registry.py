"""The architectures that can be written as a deploy net. To add one: its file, a line here."""

from typing import Protocol

from tsnd.caffe.net_pb2 import NetParameter
from tsnd_builder.networks.bn_inception import bn_inception
from tsnd_builder.networks.inception_v3 import inception_v3


class Architecture(Protocol):
    """Describes a deploy net."""

    def __call__(self, *, channels: int, classes: int) -> NetParameter:
        """Describe it for some input channels and classes."""
        ...


NETWORKS: dict[str, Architecture] = {"bn_inception": bn_inception, "inception_v3": inception_v3}
