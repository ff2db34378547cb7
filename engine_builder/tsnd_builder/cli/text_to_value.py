"""What the options' texts mean; each raises what argparse makes an error message of."""

import argparse
from pathlib import Path

from tsnd_builder.artifacts import Precision
from tsnd_builder.errors import SelectionError
from tsnd_builder.plans.options import Profile, parse_profile


def names(text: str) -> list[str]:
    """Read `a,b,c`; empty parts are ignored."""
    return [name for name in text.split(",") if name]


def head(text: str) -> tuple[str, Path]:
    """Read `NAME=FILE`."""
    name, separator, file = text.partition("=")
    if not (name and separator and file):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FILE, such as ssn=heads.npz")
    return name, Path(file)


def size(text: str) -> tuple[int, int]:
    """Read `HEIGHTxWIDTH`."""
    height, separator, width = text.partition("x")
    if not (separator and height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"{text!r} is not HEIGHTxWIDTH, such as 256x340")
    return int(height), int(width)


def lower_precisions(text: str) -> frozenset[Precision]:
    """Read a list of precisions besides FP32, which may be named and changes nothing."""
    try:
        return frozenset(Precision(name) for name in names(text)) - {Precision.FP32}
    except ValueError as err:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list out of fp16,int8") from err


def precisions(text: str) -> tuple[Precision, ...]:
    """Read a list of precisions, at least one."""
    named = set(names(text))
    if not named or not named <= set(Precision):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list out of fp32,fp16,int8")
    return tuple(precision for precision in Precision if precision in named)


def profile(text: str) -> Profile:
    """Read `MIN,OPT,MAX`."""
    try:
        return parse_profile(text)
    except SelectionError as err:
        raise argparse.ArgumentTypeError(str(err)) from err


def count(text: str) -> int:
    """Read a whole number from 1 to 100000."""
    if not text.isdecimal() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 100000")
    return int(text)


def share(text: str) -> float:
    """Read a share from 0 to 1."""
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share from 0 to 1")
    return share


def natural(text: str) -> int:
    """Read a whole number of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)
