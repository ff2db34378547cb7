"""Sends traces of snippets to an OpenTelemetry collector; off unless an endpoint is named.

Spans are made of the moments that the stages are counted by, when a result is written: so
there is nothing to trace on the way, and without an endpoint nothing at all.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

from tsnd_daemon.errors import SettingsError
from tsnd_daemon.stages import OnRun, Run, StageHistograms

_EXPORT_S = 5.0


@contextmanager
def tracing(stages: StageHistograms, *, endpoint: str | None, ratio: float) -> Iterator[None]:
    """Trace what is noted of stages, for a while; what is left is sent at the end.

    Args:
        stages: Of the models that are loaded from now on.
        endpoint: URL of a collector that takes OTLP over gRPC; None traces nothing.
        ratio: Part of the messages that are traced, 0 to 1; those of a call that belongs to a
            trace of its client (`traceparent`) are, if that is.

    Raises:
        SettingsError: When OpenTelemetry is not installed.
    """
    if endpoint is None:
        yield
        return
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.sdk.trace.sampling import (  # noqa: PLC0415
            ParentBased,
            TraceIdRatioBased,
        )
    except ImportError as err:
        raise SettingsError(
            "--otlp-endpoint needs OpenTelemetry: pip install 'tsnd[traces]', or leave it out."
        ) from err
    provider = TracerProvider(
        resource=Resource.create({"service.name": "tsnd", "service.version": version("tsnd")}),
        sampler=ParentBased(TraceIdRatioBased(ratio)),
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(
        endpoint=endpoint, insecure=endpoint.startswith("http://"), timeout=_EXPORT_S
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    stages.on_run = _to_spans(provider)
    try:
        yield
    finally:
        stages.on_run = None
        provider.shutdown()


def intervals(run: Run) -> list[tuple[str, int, int]]:
    """Return the stages of a run with when they began and ended, monotonic nanoseconds.

    They follow one another without gaps. A batch that was ready before its executor queues
    twice; decoding, which copying may go on beside, is shown at the end of both.
    """
    copied, computing = run.ready - run.decode, max(run.ready, run.start)
    stages = [
        ("receive", run.received, run.arrived),
        ("queue", run.arrived, run.begun),
        ("copy", run.begun, copied),
        ("decode", copied, run.ready),
        ("queue", run.ready, computing),
        ("compute", computing, run.end),
        ("reply", run.end, run.written),
    ]
    optional = {"decode", "queue"}
    return [
        (name, begin, end) for name, begin, end in stages if name not in optional or end > begin
    ]


def _to_spans(provider: object) -> OnRun:
    """Make what turns runs into spans."""
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.trace import SpanKind, set_span_in_context  # noqa: PLC0415
    from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
        TraceContextTextMapPropagator,
    )

    assert isinstance(provider, TracerProvider)
    tracer, propagator = provider.get_tracer("tsnd"), TraceContextTextMapPropagator()
    since_1970_ns = time.time_ns() - time.monotonic_ns()

    def on_run(labels: tuple[str, str], run: Run, parent: str) -> None:
        model, model_version = labels
        span = tracer.start_span(
            "score",
            context=propagator.extract({"traceparent": parent}) if parent else None,
            kind=SpanKind.SERVER,
            start_time=since_1970_ns + run.received,
            attributes={
                "tsnd.model": model,
                "tsnd.version": model_version,
                "tsnd.snippets": run.snippets,
            },
        )
        if span.is_recording():
            within = set_span_in_context(span)
            for name, begin, end in intervals(run):
                stage = tracer.start_span(name, context=within, start_time=since_1970_ns + begin)
                stage.end(since_1970_ns + end)
        span.end(since_1970_ns + run.written)

    return on_run
