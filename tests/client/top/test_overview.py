import math
from dataclasses import asdict
from typing import Any

import pytest

from tsnd_client.top.exposition import Scrape, parse
from tsnd_client.top.overview import STAGES, overview, quantile
from tsnd_daemon import stages

MODEL = 'model="m",version="1"'


def look(at_s, **values):
    """A daemon's metrics at some moment."""
    begun = values.get("begun", 5)
    n = values.get("n", 0)
    lines = [
        f"process_start_time_seconds {begun}",
        f"process_cpu_seconds_total {n / 100}",
        "process_resident_memory_bytes 1024",
        f'tsnd_model_info{{{MODEL},backend="onnxruntime",precision="fp32"}} 1',
        f"tsnd_executors{{{MODEL}}} 2",
        f"tsnd_inferences_total{{{MODEL}}} {n}",
        f"tsnd_executions_total{{{MODEL}}} {n / 4}",
        f"tsnd_execution_seconds_sum{{{MODEL}}} {n / 100}",
        f"tsnd_pending_snippets{{{MODEL}}} 7",
        f"tsnd_in_flight_snippets{{{MODEL}}} 4",
        f"tsnd_deadline_misses_total{{{MODEL}}} {n / 200}",
        f'tsnd_rejected_snippets_total{{code="A",reason="queue_full"}} {n / 10}',
        'tsnd_rejected_snippets_total{code="B",reason="draining"} 3',
        f"tsnd_end_to_end_seconds_sum{{{MODEL}}} {n / 10}",
        f'tsnd_end_to_end_seconds_bucket{{{MODEL},le="0.1"}} {n / 2}',
        f'tsnd_end_to_end_seconds_bucket{{{MODEL},le="+Inf"}} {n}',
        f'tsnd_end_to_end_seconds_bucket{{{MODEL},le="0.2"}} {n}',
        *(f'tsnd_stage_seconds_sum{{{MODEL},stage="{s}"}} {n / 60}' for s in STAGES),
        "tsnd_streams 3",
    ]
    return Scrape(at_s, parse("\n".join(lines)))


EXPECTED: dict[str, Any] = dict(
    model="m", version="1", engine="onnxruntime fp32", snippets_per_s=100.0, mean_batch=4.0,
    utilisation=0.5, p50_s=0.1, p99_s=pytest.approx(0.198), pending=7, in_flight=4,
    misses_per_s=0.5, stages=[pytest.approx(1 / 6)] * 6,
)  # fmt: skip


def rows(found):
    return [asdict(row) for row in found.models]


def test_counters_become_rates_of_the_time_between():
    found = overview(look(10.0, n=1000), look(12.0, n=1200))

    assert rows(found) == [EXPECTED]
    assert found.rejected_per_s == {"queue_full": 10.0}
    assert (found.streams, found.cores, found.resident_bytes) == (3, 1.0, 1024)


def test_a_daemon_that_was_started_anew_counts_from_its_start():
    found = overview(look(10.0, n=100, begun=5), look(12.0, n=200, begun=11))

    assert rows(found) == [EXPECTED]


def test_an_idle_model_has_no_latency():
    (row,) = rows(overview(look(10.0, n=100), look(12.0, n=100)))

    nothing = dict.fromkeys(("mean_batch", "p50_s", "p99_s", "stages"))
    still = dict.fromkeys(("snippets_per_s", "utilisation", "misses_per_s"), 0.0)
    assert row == {**EXPECTED, **nothing, **still}


def test_a_model_that_has_just_been_loaded_has_no_past():
    (row,) = rows(overview(Scrape(10.0, {}), look(12.0, n=200)))

    assert row == EXPECTED


def test_gpus_are_shown_with_their_memory():
    text = (
        'tsnd_gpu_memory_used_bytes{gpu="1"} 10\ntsnd_gpu_memory_bytes{gpu="1"} 80\n'
        'tsnd_gpu_utilisation_ratio{gpu="1"} 0.5'
    )
    now = Scrape(1.0, parse(text))
    (row,) = overview(now, now).gpus

    assert (row.gpu, row.utilisation, row.memory_used_bytes, row.memory_bytes) == ("1", 0.5, 10, 80)


@pytest.mark.parametrize(
    ("bounds", "part", "expected"),
    [
        ([], 0.5, None),
        ([(1.0, 0.0), (math.inf, 0.0)], 0.5, None),
        ([(1.0, 10.0), (math.inf, 10.0)], 0.5, 0.5),
        ([(1.0, 0.0), (3.0, 10.0), (math.inf, 10.0)], 0.5, 2.0),
        ([(1.0, 5.0), (2.0, 5.0), (4.0, 10.0), (math.inf, 10.0)], 0.75, 3.0),
        ([(1.0, 0.0), (math.inf, 10.0)], 0.5, 1.0),
    ],
)
def test_a_quantile_lies_in_its_bucket(bounds, part, expected):
    assert quantile(bounds, part) == expected


def test_the_stages_are_those_of_the_daemon():
    assert STAGES == stages.STAGES
