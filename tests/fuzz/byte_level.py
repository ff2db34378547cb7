"""Damages bytes without knowing what they mean; pure functions."""

from random import Random

_MOST_RANDOM_BYTES = 400


def random_bytes(rng: Random) -> bytes:
    """Make up some bytes."""
    return rng.randbytes(rng.randrange(_MOST_RANDOM_BYTES))


def damage(data: bytes, other: bytes, rng: Random) -> bytes:
    """Flip, overwrite, cut, insert, repeat or splice bytes, once to three times.

    Args:
        data: What is damaged.
        other: From which something may be taken.
        rng: Decides.
    """
    for _ in range(rng.randint(1, 3)):
        if not data:
            return other[:1]
        data = rng.choice(_DAMAGES)(data, other, rng)
    return data


def _flip(data: bytes, _other: bytes, rng: Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        damaged[_place(data, rng)] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def _overwrite(data: bytes, _other: bytes, rng: Random) -> bytes:
    at = _place(data, rng)
    piece = rng.choice((b"\xff" * 9 + b"\x01", b"\xff" * 4 + b"\x0f", b"\0" * 4, rng.randbytes(4)))
    return data[:at] + piece + data[at + len(piece) :]


def _cut(data: bytes, _other: bytes, rng: Random) -> bytes:
    return data[: _place(data, rng)]


def _insert(data: bytes, _other: bytes, rng: Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + rng.randbytes(rng.randint(1, 20)) + data[at:]


def _remove(data: bytes, _other: bytes, rng: Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + data[at + rng.randint(1, 20) :]


def _repeat(data: bytes, _other: bytes, rng: Random) -> bytes:
    begin, end = sorted((_place(data, rng), _place(data, rng)))
    return data[:end] + data[begin:end] * rng.randint(1, 4) + data[end:]


def _splice(data: bytes, other: bytes, rng: Random) -> bytes:
    return data[: _place(data, rng)] + other[rng.randrange(len(other) + 1) :]


def _place(data: bytes, rng: Random) -> int:
    """Choose an index, half the time among the first: there the structure is."""
    return rng.randrange(min(len(data), 40) if rng.random() < 0.5 else len(data))


_DAMAGES = (_flip, _overwrite, _cut, _insert, _remove, _repeat, _splice)
