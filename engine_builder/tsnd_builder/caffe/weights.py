"""Reads a weight file (caffemodel): bytes in, arrays by layer name out."""

import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from tsnd.caffe.net_pb2 import BlobProto, LayerWeights, V0LayerWeights, V1LayerWeights, WeightFile
from tsnd_builder.caffe.files import read_bytes
from tsnd_builder.errors import CaffemodelError

_TEXT = frozenset(string.printable.encode())
_MAX_AXES = 32  # Caffe's own limit: kMaxBlobAxes


@dataclass(frozen=True, slots=True)
class Blob:
    """One array of a layer.

    Attributes:
        data: float32, row-major, as long as the shape's product.
        shape: The axes in the file; four for the old num/channels/height/width form.
        is_legacy: Whether the file used that old form, which pads with leading ones.
    """

    data: npt.NDArray[np.float32]
    shape: tuple[int, ...]
    is_legacy: bool

    def fits(self, expected: tuple[int, ...]) -> bool:
        """Tell whether this blob may be read as one of shape `expected`.

        A legacy blob equals a shape of up to four axes that is padded in front with
        ones; any other must be equal (Caffe blob.cpp, ShapeEquals).
        """
        if not self.is_legacy:
            return self.shape == expected
        return len(expected) <= 4 and self.shape == (1,) * (4 - len(expected)) + expected


@dataclass(frozen=True, slots=True)
class Weights:
    """The blobs of a caffemodel.

    Attributes:
        path: The file they came from.
        blobs: Blobs by layer name, in the layer's order; layers without blobs are there
            with an empty tuple.
    """

    path: Path
    blobs: dict[str, tuple[Blob, ...]]


def read_weights(path: Path) -> Weights:
    """Read a caffemodel.

    Args:
        path: The binary file that Caffe's Net::ToProto wrote.

    Returns:
        Its blobs by layer name.

    Raises:
        FileUnreadable: When the file cannot be read.
        CaffemodelError: When it is text, truncated, without layers or inconsistent.
    """
    data = read_bytes(path)
    file = _parse(data, path)
    layers = _layers(file)
    if not layers:
        raise CaffemodelError(f"{path} holds no layers; expected a Caffe model with weights.")
    blobs: dict[str, tuple[Blob, ...]] = {}
    for layer in layers:
        _check_name(layer.name, path)
        arrays = tuple(
            _blob(blob, f"{path}, layer {layer.name!r}, blob {i}")
            for i, blob in enumerate(layer.blobs)
        )
        if arrays or layer.name not in blobs:
            blobs[layer.name] = arrays
    return Weights(path, blobs)


def _layers(file: WeightFile) -> Sequence[LayerWeights | V1LayerWeights | V0LayerWeights]:
    """Return the layers of a file; one with several formats is of the older, as in Caffe."""
    if not file.layers:
        return file.layer
    return [layer.layer if layer.HasField("layer") else layer for layer in file.layers]


def _parse(data: bytes, path: Path) -> WeightFile:
    if data.startswith(b"\x89HDF"):
        raise CaffemodelError(
            f"{path} is an HDF5 file (.caffemodel.h5). Save it from Caffe as a binary "
            "caffemodel (net.save without _hdf5) and try again."
        )
    if _TEXT.issuperset(data[:4096]):
        raise CaffemodelError(
            f"{path} is a text file, not binary weights. "
            "Give the .caffemodel as --weights and the .prototxt as --prototxt."
        )
    try:
        return WeightFile.FromString(data)
    except DecodeError as err:
        raise CaffemodelError(
            f"{path} is not a whole caffemodel ({len(data)} bytes): it is truncated or another "
            "kind of file. Download or copy it again and compare its size with the source's."
        ) from err


def _check_name(name: object, path: Path) -> None:
    """Refuse a name that is not UTF-8, which protobuf hands over as bytes."""
    if not isinstance(name, str):
        raise CaffemodelError(f"{path} names a layer {name!r}, which is no text; it is damaged.")


def _blob(proto: BlobProto, where: str) -> Blob:
    """Turn a message into an array whose size is its shape's product."""
    is_legacy = any(proto.HasField(f) for f in ("num", "channels", "height", "width"))
    shape = (
        (proto.num, proto.channels, proto.height, proto.width)
        if is_legacy
        else tuple(proto.shape.dim)
    )
    data = np.array(proto.data, dtype=np.float32)
    if len(shape) > _MAX_AXES or any(d < 0 for d in shape):
        raise CaffemodelError(f"{where}: {list(shape)[:8]} is not a shape; the file is damaged.")
    size = 1
    for dim in shape:
        size *= dim
    if size != data.size:
        raise CaffemodelError(
            f"{where}: shape {list(shape)} needs {size} values, the file has {data.size}. "
            "It is truncated or was written by another branch of Caffe."
        )
    return Blob(data.reshape(shape), shape, is_legacy)
