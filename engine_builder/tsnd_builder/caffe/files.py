"""Reads whole files from outside; every failure becomes one clear error."""

import hashlib
from pathlib import Path

from tsnd_builder.errors import FileUnreadable


def read_bytes(path: Path) -> bytes:
    """Read a file.

    Args:
        path: The file.

    Returns:
        Its bytes, at least one.

    Raises:
        FileUnreadable: When it is missing, not a file, not permitted or empty.
    """
    try:
        data = path.read_bytes()
    except IsADirectoryError as err:
        raise FileUnreadable(f"{path} is a folder; name a file in it.") from err
    except OSError as err:
        raise FileUnreadable(f"{path}: {err.strerror}. Check the path.") from err
    if not data:
        raise FileUnreadable(f"{path} is empty; it may be an interrupted download.")
    return data


def sha256(data: bytes) -> str:
    """Return the SHA-256 of some bytes as lower-case hex."""
    return hashlib.sha256(data).hexdigest()
