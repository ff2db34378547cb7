"""Reads a network description (prototxt): text in, checked `NetParameter` out."""

import re
from pathlib import Path

from google.protobuf import text_format

from tsnd.caffe.net_pb2 import NetParameter
from tsnd_builder.caffe.files import read_bytes
from tsnd_builder.caffe.unknown_fields import UnknownField, find_unknown_fields
from tsnd_builder.caffe.upgrade import upgraded, v1_type
from tsnd_builder.errors import PrototxtError

_SPACED_MINUS = re.compile(
    r"""(?P<verbatim>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|\#[^\n]*)|-\s+"""
)


def read_prototxt(path: Path, *, convertible: frozenset[str]) -> NetParameter:
    """Read a network description.

    Args:
        path: The prototxt.
        convertible: Layer types that are converted. Only layers of other types may set
            fields that are unknown here, since they are either left out of the net
            or refused by their type.

    Returns:
        The net with all its layers, in the present format whatever the file's.

    Raises:
        FileUnreadable: When the file cannot be read.
        PrototxtError: When it is not valid text format, or sets an unknown field.
    """
    text = _join_minus(_decode(read_bytes(path), path))
    net = NetParameter()
    try:
        text_format.Parse(text, net, allow_unknown_field=True)
    except (text_format.ParseError, ValueError, RecursionError) as err:
        raise PrototxtError(
            f"{path} is not a valid prototxt: {str(err)[:300] or type(err).__name__}. "
            "Expected a network description in protobuf text format."
        ) from err
    for unknown in find_unknown_fields(text, NetParameter.DESCRIPTOR):
        _refuse(unknown, net, path, convertible)
    net = upgraded(net, path)
    if not net.layer:
        raise PrototxtError(f"{path} describes no layers; expected a Caffe network description.")
    return net


def _decode(data: bytes, path: Path) -> str:
    """Decode the text, or say that it is none; old files have Latin-1 in their comments."""
    if b"\0" in data:
        raise PrototxtError(
            f"{path} is a binary file. The prototxt is the network description in text; "
            "is this the caffemodel, which belongs to --weights?"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _join_minus(text: str) -> str:
    """Join a minus sign to its number: Caffe's parser takes `- 2`, Python's does not."""
    return _SPACED_MINUS.sub(lambda match: match["verbatim"] or "-", text)


def _refuse(
    unknown: UnknownField, net: NetParameter, path: Path, convertible: frozenset[str]
) -> None:
    """Raise for an unknown field, unless it belongs to a layer that is not converted."""
    where = f"{path}, line {unknown.line}"
    layer = _layer_of(unknown, net)
    if layer is not None:
        name, layer_type = layer
        if len(unknown.path) == 1 and layer_type not in convertible:
            return
        where = f"{where}, layer {name!r}"
    raise PrototxtError(
        f"{where}: {unknown.message} has no field {unknown.name!r}. "
        "Caffe would refuse it too: correct its spelling, or take it out."
    )


def _layer_of(unknown: UnknownField, net: NetParameter) -> tuple[str, str] | None:
    """Return name and type of the layer that a field stands in, if it does."""
    if not unknown.path:
        return None
    field, index = unknown.path[0]
    if field == "layer":
        return net.layer[index].name, net.layer[index].type
    if field == "layers":
        return net.layers[index].name, v1_type(net.layers[index])
    return None
