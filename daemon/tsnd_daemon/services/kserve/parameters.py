"""Reads the parameters of requests and tensors; pure functions."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Literal

from tsnd.kserve import inference_pb2 as pb
from tsnd_daemon.errors import InvalidRequest
from tsnd_daemon.scheduling.fair_queue import PRIORITIES
from tsnd_daemon.scheduling.waiting_room import NORMAL
from tsnd_daemon.validation import MAX_ID_LENGTH

Parameters = Mapping[str, pb.InferParameter]

_BULK = PRIORITIES - 1
_Choice = Literal["bool_param", "int64_param", "string_param", "double_param", "uint64_param"]
_WHOLE: tuple[_Choice, ...] = ("int64_param", "uint64_param")


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """What the parameters of a request ask for.

    Attributes:
        priority: 0 real time, 1 normal, 2 bulk.
        timeout_us: Until its scores lose their use, microseconds; 0 is for ever.
        sequence: Among whose snippets its own keep their order; None when it says nothing.
        wants_final: Whether its response is to say that no other follows.
    """

    priority: int
    timeout_us: int
    sequence: Hashable
    wants_final: bool


def read_options(parameters: Parameters, where: str) -> RequestOptions:
    """Read what a request asks for.

    Args:
        parameters: The request's; those with other names are ignored.
        where: What they belong to, for messages.

    Raises:
        InvalidRequest: When one is of another type, negative or too long.
    """
    return RequestOptions(
        to_our_priority(read_whole(parameters, "priority", where)),
        read_whole(parameters, "timeout", where),
        _read_sequence(parameters, where),
        _read_flag(parameters, "triton_enable_empty_final_response", where),
    )


def to_our_priority(priority: int) -> int:
    """Translate a priority of Triton's: 0 is the default, 1 the highest, and so on."""
    return NORMAL if priority == 0 else min(priority - 1, _BULK)


def read_whole(parameters: Parameters, name: str, where: str) -> int:
    """Read a whole number that is not negative; 0 when it is not there.

    Args:
        parameters: Where it is.
        name: Its name.
        where: What the parameters belong to, for messages.

    Raises:
        InvalidRequest: When it is anything else.
    """
    value = _read(parameters, name, _WHOLE, "a whole number (int64_param)", where)
    if value is None:
        return 0
    number = value.int64_param if value.HasField("int64_param") else value.uint64_param
    if number < 0:
        raise InvalidRequest(f"{where}: parameter {name!r} is {number}, expected 0 or more.")
    return number


def read_text(parameters: Parameters, name: str, where: str) -> str | None:
    """Read a text; None when it is not there. Arguments and errors as for `read_whole`."""
    value = _read(parameters, name, ("string_param",), "a text (string_param)", where)
    return None if value is None else value.string_param


def _read_flag(parameters: Parameters, name: str, where: str) -> bool:
    value = _read(parameters, name, ("bool_param",), "true or false (bool_param)", where)
    return value is not None and value.bool_param


def _read_sequence(parameters: Parameters, where: str) -> Hashable:
    """Return what tells a sequence from others; 0 and an empty text name none."""
    expected = "a whole number or a text (int64_param or string_param)"
    value = _read(parameters, "sequence_id", (*_WHOLE, "string_param"), expected, where)
    if value is None:
        return None
    if not value.HasField("string_param"):
        number = value.int64_param or value.uint64_param
        return ("sequence", number) if number else None
    if len(value.string_param) > MAX_ID_LENGTH:
        raise InvalidRequest(
            f"{where}: its sequence_id has {len(value.string_param)} characters, at most "
            f"{MAX_ID_LENGTH} are allowed."
        )
    return ("sequence", value.string_param) if value.string_param else None


def _read(
    parameters: Parameters, name: str, choices: tuple[_Choice, ...], expected: str, where: str
) -> pb.InferParameter | None:
    """Return a parameter of certain types; None when it is not there."""
    if name not in parameters:
        return None
    value = parameters[name]
    choice = value.WhichOneof("parameter_choice")
    if choice not in choices:
        raise InvalidRequest(
            f"{where}: parameter {name!r} is {choice or 'without a value'}, expected {expected}."
        )
    return value
