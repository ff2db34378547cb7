"""What TensorRT says about a failure, without its source locations and echoes. Pure."""

import re
from collections.abc import Iterable

_API_ERROR = re.compile(r"Error Code \d+: [\w ]+ \((?P<what>.*?)\.?\s+In \w+ at \S+\)", re.DOTALL)
_LOCATION = re.compile(r"\[\S+\.(?:cpp|h):\S*?(?:::\d+|: \w+)\] ")
_TITLE = "Invalid Node - "
_NO_DRIVER = "catchCudaError"
"""In the line that TensorRT-RTX puts behind every error where there is no driver."""

_PARSER_ECHO = re.compile(r"^ModelImporter\.cpp:\d+:")


def plain(text: str) -> str:
    """Return the sentence in an error, on one line."""
    lines = [
        line
        for line in text.splitlines()
        if line.strip() and not line.startswith(_TITLE) and _NO_DRIVER not in line
    ]
    said = " ".join(line.strip() for line in lines)
    match = _API_ERROR.search(said)
    return _LOCATION.sub("", match["what"].strip() if match else said)


def parser_complaint(node: str, operator: str, description: str) -> str:
    """Write one error of the ONNX parser; node and operator are empty for the whole file."""
    said = plain(description)
    return f"node {node!r} ({operator}): {said}" if node or operator else said


def build_complaints(errors: Iterable[str]) -> tuple[str, ...]:
    """Write the errors that were logged during a build, each once."""
    said = (plain(error) for error in errors if not _PARSER_ECHO.match(error))
    return tuple(dict.fromkeys(line for line in said if line))


def sentences(what: str, complaints: Iterable[str]) -> str:
    """Write one complaint on the line of what it is about, several below it."""
    lines = [complaint.rstrip(".") for complaint in complaints]
    if len(lines) == 1:
        return f"{what}: {lines[0]}."
    return "\n  ".join([f"{what}:", *lines])
