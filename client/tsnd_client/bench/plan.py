"""What a benchmark is to do: made of the command line, checked before anything is sent."""

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from tsnd_client.bench.arguments import Arguments
from tsnd_client.bench.arrivals import Arrivals
from tsnd_client.bench.generator import Timing
from tsnd_client.bench.payloads import Payload
from tsnd_client.bench.streams import (
    Feed,
    StreamKind,
    closed_feeds,
    open_feeds,
    parse_kind,
    total_rate,
)
from tsnd_client.errors import InputError
from tsnd_client.model_info import Modality
from tsnd_client.reply import EVERYTHING, Reply

_FIRST_RATE_PER_S = 10.0
_STREAMS = 16


class Protocol(StrEnum):
    """What is spoken with the server."""

    NATIVE = "native"
    KSERVE = "kserve"


@dataclass(frozen=True, slots=True)
class Plan:
    """One benchmark.

    Attributes:
        target: HOST:PORT of the server.
        protocol: What is spoken with it.
        model: Name of the model, or of a two-stream pair.
        modality: Which model of a pair.
        kinds: The streams.
        rates: Snippets per second of all streams, run by run; empty for a closed loop, and for
            a search its first.
        p99_ms: What the search for a rate holds; None does not search.
        arrivals: How an open loop spaces messages.
        seed: What they are drawn with.
        payload: How pixels get to the daemon.
        reply: What results hold.
        timing: How long each run takes.
        max_slip_ms: A 99th percentile of the slip beyond which the generator was too late.
        json: Where to write the results, if anywhere.
        plot: Where to draw them, if anywhere.
    """

    target: str
    protocol: Protocol
    model: str
    modality: Modality | None
    kinds: tuple[StreamKind, ...]
    rates: tuple[float, ...]
    p99_ms: float | None
    arrivals: Arrivals
    seed: int
    payload: Payload
    reply: Reply
    timing: Timing
    max_slip_ms: float
    json: Path | None
    plot: Path | None

    @property
    def is_open(self) -> bool:
        """Whether snippets come by schedule."""
        return bool(self.rates)

    def feeds(self, rate_per_s: float | None) -> list[Feed]:
        """Make the streams of a run, for a total rate in snippets/s or for a closed loop."""
        if rate_per_s is None:
            return closed_feeds(self.kinds)
        return open_feeds(self.kinds, rate_per_s)


def to_plan(args: Arguments) -> Plan:
    """Make sense of the command line.

    Raises:
        InputError: It makes none.
    """
    kinds = _kinds(args)
    rates = _rates(args, kinds)
    if not rates:
        closed_feeds(kinds)  # complains of rates
    if not args.duration_s:
        raise InputError("--duration-s must be more than 0: nothing would be measured.")
    _require_kserve_can(args)
    reply = Reply(args.outputs or (), args.top_k or 0, args.half)
    return Plan(
        target=args.target,
        protocol=Protocol(args.protocol),
        model=args.model,
        modality=Modality(args.modality) if args.modality else None,
        kinds=kinds,
        rates=rates,
        p99_ms=args.p99_ms,
        arrivals=Arrivals(args.arrivals),
        seed=args.seed,
        payload=Payload(args.payload),
        reply=EVERYTHING if reply == EVERYTHING else reply,
        timing=Timing(args.warm_up_s, args.duration_s, args.drain_s),
        max_slip_ms=args.max_slip_ms,
        json=args.json,
        plot=args.plot,
    )


def _kinds(args: Arguments) -> tuple[StreamKind, ...]:
    plain = StreamKind(
        count=args.streams or _STREAMS,
        priority=args.priority,
        group=args.group,
        timeout_ms=args.timeout_ms,
        in_flight=args.in_flight or 1,
    )
    if not args.stream:
        return (plain,)
    if args.streams:
        raise InputError("--streams is for streams that are all alike: leave it or --stream out.")
    return tuple(parse_kind(text, replace(plain, count=1)) for text in args.stream)


def _rates(args: Arguments, kinds: tuple[StreamKind, ...]) -> tuple[float, ...]:
    chosen = {
        "--in-flight": args.in_flight,
        "--sweep": args.sweep,
        "--find-rate": args.find_rate,
    }
    named = [name for name, value in chosen.items() if value]
    if len(named) > 1 or (named and named != ["--find-rate"] and args.rate):
        given = [*named, "--rate"] if args.rate else named
        raise InputError(f"{' and '.join(given)} exclude one another: choose one.")
    if args.find_rate and not args.p99_ms:
        raise InputError("--find-rate needs the bound that it has to hold: --p99-ms.")
    if args.p99_ms and not args.find_rate:
        raise InputError("--p99-ms goes with --find-rate.")
    has_rates = any(kind.rate for kind in kinds)
    if args.in_flight:
        return ()
    if args.sweep:
        return args.sweep
    if args.rate:
        return (args.rate,)
    if has_rates:
        return (total_rate(kinds),)
    if args.find_rate:
        return (_FIRST_RATE_PER_S,)
    raise InputError(
        "how much load? --rate SNIPPETS_PER_S comes by schedule, --in-flight SNIPPETS waits for "
        "answers, --sweep tries several rates, --find-rate --p99-ms searches for the highest."
    )


def _require_kserve_can(args: Arguments) -> None:
    if args.protocol != Protocol.KSERVE:
        return
    native_only = {
        f"--payload {args.payload}": args.payload != Payload.RAW,
        "--modality": args.modality,
        "--top-k": args.top_k,
        "--outputs": args.outputs,
        "--half": args.half,
    }
    named = [name for name, is_given in native_only.items() if is_given]
    if named:
        raise InputError(f"--protocol kserve has no {' or '.join(named)}: leave it out.")
