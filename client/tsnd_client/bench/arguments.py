"""What `tsn bench` is asked for, as it stands on the command line; plan.py makes sense of it."""

from dataclasses import dataclass
from pathlib import Path

from tsnd_client.urgency import Priority


@dataclass(frozen=True, slots=True)
class Arguments:
    """The options of `tsn bench`, by their names; commands/bench.py says what each does."""

    model: str
    modality: str | None
    target: str
    protocol: str
    rate: float | None
    in_flight: int | None
    sweep: tuple[float, ...] | None
    find_rate: bool
    p99_ms: float | None
    arrivals: str
    seed: int
    streams: int | None
    group: int
    priority: Priority
    timeout_ms: float | None
    stream: list[str] | None
    payload: str
    top_k: int | None
    outputs: tuple[str, ...] | None
    half: bool
    warm_up_s: float
    duration_s: float
    drain_s: float
    max_slip_ms: float
    json: Path | None
    plot: Path | None
