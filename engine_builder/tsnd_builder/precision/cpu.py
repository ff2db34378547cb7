"""What this machine's processor can do with INT8."""

from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"})


def has_int8_dot_products(cpuinfo: Path = _CPUINFO) -> bool:
    """Tell whether INT8 products are summed up in 32 bits at once, so that none saturates.

    Without VNNI, AMX or Arm's dot products, sums of two products are cut off at 16 bits.

    Args:
        cpuinfo: Where the system lists the processor's flags.
    """
    try:
        words = set(cpuinfo.read_text().split())
    except OSError:
        return False
    return bool(words & _FLAGS)
