"""A user's own linear heads on the features, served beside the scores.

SSN's activity, completeness and regression heads, or the actionness head of TAG, are
linear in the same features; served as further outputs they cost next to nothing.
"""

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tsnd_builder.caffe.files import read_bytes
from tsnd_builder.errors import SelectionError

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_RESERVED = frozenset({"snippets", "scores", "features"})
_MAX_OUTPUTS = 100_000


@dataclass(frozen=True, slots=True, eq=False)
class LinearHead:
    """y = weight @ features + bias.

    Attributes:
        name: Name of the output.
        weight: float32 [out, D].
        bias: float32 [out].
        source: The file it came from.
    """

    name: str
    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    source: Path


def read_heads(paths: Mapping[str, Path], *, feature_length: int) -> tuple[LinearHead, ...]:
    """Read heads from .npz files.

    Args:
        paths: Files by name of the output. Each holds `weight` [out, D] and `bias` [out];
            without bias it is 0.
        feature_length: D of the network that they are for.

    Raises:
        FileUnreadable: When a file cannot be read.
        SelectionError: When a name or an array does not fit.
    """
    return tuple(_read_head(name, path, feature_length) for name, path in paths.items())


def _read_head(name: str, path: Path, feature_length: int) -> LinearHead:
    if not _NAME.fullmatch(name) or name in _RESERVED:
        raise SelectionError(
            f"{name!r} cannot name a head: use a letter, then letters, digits and '_', at most 64, "
            f"and none of {', '.join(sorted(_RESERVED))}."
        )
    arrays = _read_arrays(path)
    weight = arrays.get("weight")
    if weight is None or not arrays.keys() <= {"weight", "bias"}:
        raise SelectionError(
            f"{path} holds the arrays {', '.join(sorted(arrays)) or 'none'}; a head is `weight` "
            "[out, D] and `bias` [out]. Write it with numpy.savez(file, weight=W, bias=b)."
        )
    bias = arrays.get("bias", np.zeros(weight.shape[:1]))
    if (
        weight.ndim != 2
        or not 1 <= weight.shape[0] <= _MAX_OUTPUTS
        or weight.shape[1] != feature_length
        or bias.shape != weight.shape[:1]
    ):
        raise SelectionError(
            f"{path} has a weight of shape {list(weight.shape)} and a bias of shape "
            f"{list(bias.shape)}; this network's features need [out, {feature_length}] and [out]."
        )
    for key, array in (("weight", weight), ("bias", bias)):
        if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise SelectionError(f"{path}: its {key} ({array.dtype}) must be finite numbers.")
    return LinearHead(name, weight.astype(np.float32), bias.astype(np.float32), path)


def _read_arrays(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    data = read_bytes(path)
    try:
        with np.load(BytesIO(data), allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("it is a single array")
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile) as err:
        raise SelectionError(
            f"{path} is not an .npz file of plain arrays ({str(err)[:200]}). "
            "Write it with numpy.savez(file, weight=W, bias=b)."
        ) from err
