"""Turns the input of a request into snippets, one for each row, without copying pixels."""

import math
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from tsnd.kserve import inference_pb2 as pb
from tsnd_daemon.errors import InvalidRequest
from tsnd_daemon.services.kserve.regions import Place, Regions
from tsnd_daemon.shared_memory import SharedPixels
from tsnd_daemon.snippets import Snippet
from tsnd_daemon.validation import SnippetContract
from tsnd_daemon.wire.infer_requests import Buffer

_MOST_ELEMENTS = 2**20
"""Read one by one from a message; more would hold up the event loop for over 25 milliseconds."""
_SHOWN, _MOST_SHOWN = 64, 8
"""Characters of a name and parts of a list from outside that a message repeats."""


@dataclass(frozen=True, slots=True)
class InputReader:
    """Reads inputs.

    Attributes:
        regions: Where those are that are in shared memory.
        decoders: Decode those that are JPEG.
        max_rows: Most snippets in one request.
    """

    regions: Regions
    decoders: Executor
    max_rows: int

    def read(
        self,
        message: pb.ModelInferRequest,
        raw: Sequence[Buffer],
        contract: SnippetContract,
        where: str,
    ) -> list[Snippet]:
        """Read the snippets of a request.

        Args:
            message: The request without its raw contents.
            raw: Its raw contents, which stay where they are.
            contract: What its model demands.
            where: What it is, for messages.

        Returns:
            One snippet for each row, at least one.

        Raises:
            RequestError: When it does not fit its model, or its bytes do not fit it.
        """
        tensor = _only_input(message, contract, where)
        where = f"{where}: input {contract.input!r}"
        names = _names(message.id, _check_shape(tensor, contract, self.max_rows, where))
        place = self.regions.find_place(tensor.parameters, where)
        if tensor.datatype == "BYTES":
            _refuse_place(place, where)
            files = _split_files(_bytes_of(tensor, raw, where), tensor, where)
            return [
                Snippet(name, contract.to_jpeg(name, images, self.decoders))
                for name, images in zip(names, files, strict=True)
            ]
        if place is not None:
            return _shared_rows(
                place, names, tensor=tensor, raw=raw, contract=contract, where=where
            )
        return _rows(_uint8_of(tensor, raw, where), names, contract, where)


def _only_input(
    message: pb.ModelInferRequest, contract: SnippetContract, where: str
) -> pb.ModelInferRequest.InferInputTensor:
    names = [tensor.name for tensor in message.inputs]
    if names != [contract.input]:
        came = ", ".join(repr(name[:_SHOWN]) for name in names[:_MOST_SHOWN]) or "none"
        raise InvalidRequest(
            f"{where}: {len(names)} inputs ({came}), and model {contract.model!r} takes one, "
            f"{contract.input!r}. Send that alone; ModelMetadata tells its shape."
        )
    return message.inputs[0]


def _names(request_id: str, rows: int) -> list[str]:
    """Name snippets for messages."""
    return [request_id] if rows == 1 else [f"{request_id}[{row}]" for row in range(rows)]


def _check_shape(
    tensor: pb.ModelInferRequest.InferInputTensor,
    contract: SnippetContract,
    max_rows: int,
    where: str,
) -> int:
    """Refuse an input of another type or shape; returns its rows."""
    shape = list(tensor.shape)
    if tensor.datatype == "UINT8":
        rests = [list(contract.shape)]
    elif tensor.datatype == "BYTES":
        rests = [[count] for count in contract.jpeg_counts]
    else:
        raise InvalidRequest(
            f"{where} is of {tensor.datatype[:_SHOWN]!r}, expected UINT8, or BYTES for JPEG files."
        )
    if shape[1:] not in rests:
        wanted = " or ".join(f"[rows, {', '.join(map(str, rest))}]" for rest in rests)
        raise InvalidRequest(
            f"{where}: model {contract.model!r} takes {tensor.datatype} of shape {wanted}, "
            f"got {_shown(shape)}. The first axis counts snippets, also when there is one."
        )
    if not 1 <= shape[0] <= max_rows:
        raise InvalidRequest(
            f"{where} has {shape[0]} rows: from 1 to {max_rows} are allowed (max_group_size)."
        )
    return shape[0]


def _uint8_of(
    tensor: pb.ModelInferRequest.InferInputTensor, raw: Sequence[Buffer], where: str
) -> Buffer:
    """Return the elements of an input, wherever in the message they are."""
    elements = tensor.contents.uint_contents
    if not elements:
        return _only_raw(tensor, raw, where, "uint_contents")
    _refuse_both(raw, where)
    if len(elements) > _MOST_ELEMENTS:
        raise InvalidRequest(
            f"{where}: {len(elements)} uint_contents, at most {_MOST_ELEMENTS} are read one by "
            "one. Send raw_input_contents, which cost less besides."
        )
    try:
        return bytes(elements)
    except ValueError as err:
        raise InvalidRequest(
            f"{where}: its uint_contents go up to {max(elements)}, and UINT8 to 255."
        ) from err


def _bytes_of(
    tensor: pb.ModelInferRequest.InferInputTensor, raw: Sequence[Buffer], where: str
) -> list[bytes]:
    """Return the elements of an input of BYTES."""
    elements = list(tensor.contents.bytes_contents)
    if elements:
        _refuse_both(raw, where)
        return elements
    most = math.prod(tensor.shape)
    return _split_bytes(_only_raw(tensor, raw, where, "bytes_contents"), most, where)


def _refuse_place(place: Place | None, where: str) -> None:
    if place is not None:
        raise InvalidRequest(
            f"{where}: BYTES in shared memory are not read here. Send JPEG files in the message, "
            "or pixels, as UINT8, in shared memory."
        )


def _only_raw(
    tensor: pb.ModelInferRequest.InferInputTensor, raw: Sequence[Buffer], where: str, field: str
) -> Buffer:
    if len(raw) == 1 and not tensor.HasField("contents"):
        return raw[0]
    if tensor.HasField("contents"):
        raise InvalidRequest(
            f"{where}: its contents have no {field}, where {tensor.datatype} goes. Fill them, or "
            "send raw_input_contents without any contents."
        )
    raise InvalidRequest(
        f"{where}: raw_input_contents has {len(raw)} entries, expected 1, for this input. Send "
        "one for each input that is not in shared memory."
    )


def _refuse_both(raw: Sequence[Buffer], where: str) -> None:
    if raw:
        raise InvalidRequest(
            f"{where} has contents, and raw_input_contents has {len(raw)} entries. Send one kind."
        )


def _rows(
    pixels: Buffer, names: Sequence[str], contract: SnippetContract, where: str
) -> list[Snippet]:
    """Divide pixels among rows."""
    expected = len(names) * contract.size_bytes
    if len(pixels) != expected:
        raise InvalidRequest(
            f"{where}: {len(names)} rows of {list(contract.shape)} need {expected} bytes of UINT8, "
            f"got {len(pixels)}."
        )
    rows = np.frombuffer(pixels, np.uint8).reshape(len(names), *contract.shape)
    return [Snippet(name, row) for name, row in zip(names, rows, strict=True)]


def _shared_rows(
    place: Place,
    names: Sequence[str],
    *,
    tensor: pb.ModelInferRequest.InferInputTensor,
    raw: Sequence[Buffer],
    contract: SnippetContract,
    where: str,
) -> list[Snippet]:
    """Divide a place in shared memory among rows; they are read when their batch runs."""
    if raw or tensor.HasField("contents"):
        raise InvalidRequest(
            f"{where} is in shared memory, and the message has contents, too. Send one kind."
        )
    size = contract.size_bytes
    if place.byte_size != len(names) * size:
        raise InvalidRequest(
            f"{where}: {len(names)} rows of {list(contract.shape)} need {len(names) * size} bytes "
            f"of UINT8, shared_memory_byte_size is {place.byte_size}."
        )
    return [
        Snippet(name, SharedPixels(place.region, place.offset + row * size))
        for row, name in enumerate(names)
    ]


def _split_files(
    files: list[bytes], tensor: pb.ModelInferRequest.InferInputTensor, where: str
) -> list[list[bytes]]:
    """Divide JPEG files among rows."""
    rows, images = tensor.shape
    if len(files) != rows * images:
        raise InvalidRequest(
            f"{where}: shape {[rows, images]} needs {rows * images} elements, got "
            f"{'more' if len(files) > rows * images else len(files)}. "
            "In raw contents each has its length before it, 4 bytes little-endian."
        )
    return [files[row * images : (row + 1) * images] for row in range(rows)]


def _split_bytes(raw: Buffer, most: int, where: str) -> list[bytes]:
    """Read elements of BYTES, each of which has its length before it; stops with one too many."""
    elements, at = list[bytes](), 0
    while at < len(raw) and len(elements) <= most:
        begin = at + 4
        at = begin + int.from_bytes(raw[at:begin], "little")
        if at > len(raw):
            raise InvalidRequest(
                f"{where}: its {len(raw)} bytes end within an element. Send the length of each "
                "before it, 4 bytes little-endian."
            )
        elements.append(bytes(raw[begin:at]))
    return elements


def _shown(shape: Sequence[int]) -> str:
    """Show a shape from outside, however long it is."""
    return str(shape) if len(shape) <= _MOST_SHOWN else f"{len(shape)} axes"
