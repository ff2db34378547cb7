"""How a call is called in the log and to its client, when something of ours fails."""

import re
import secrets
from typing import Any

from grpc import aio

_HEADER = "x-request-id"
_GOOD = re.compile(r"[A-Za-z0-9_.:/+=-]{1,64}")


def request_id_of(context: "aio.ServicerContext[Any, Any]") -> str:
    """Return the `x-request-id` that a client has sent with a call, else one of our own.

    What could be more than a name, such as a line break for the log, is not taken.
    """
    for key, value in context.invocation_metadata() or ():
        if key == _HEADER and isinstance(value, str) and _GOOD.fullmatch(value):
            return value
    return secrets.token_hex(8)
