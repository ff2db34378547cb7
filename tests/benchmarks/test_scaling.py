"""What a snippet costs along each axis, on a real daemon without an engine."""

import time

import pytest

from benchmarks.scaling import AXES, IN_FLIGHT, Point, cost_ms, flatness, table
from tests.daemons import running_daemon
from tsnd_client.bench.generator import Timing
from tsnd_client.bench.payloads import Payload

SHORT = Timing(warm_up_s=0.05, duration_s=0.2, drain_s=5.0)


@pytest.mark.parametrize("streams", [8, 16, 32, 64, 128, 256])
def test_as_many_snippets_are_in_flight_however_many_streams(streams):
    kind = Point(streams, streams=streams).kind()

    assert kind.count * kind.in_flight == IN_FLIGHT


def test_every_axis_is_laid_out_without_doubles():
    for points in AXES.values():
        assert len(set(points)) == len(points)


@pytest.mark.parametrize(
    "point",
    [
        Point(1, streams=1),
        Point(4, streams=2, group=4),
        Point("shared", streams=2, payload=Payload.SHARED),
        Point(2, streams=4, models=2),
    ],
    ids=str,
)
async def test_a_snippet_has_a_cost(tiny_repository, point):
    async with running_daemon(tiny_repository, backend="synthetic") as daemon:
        models = ("tiny_rgb", "tiny_flow")
        cost = await cost_ms(daemon.endpoints.grpc, models, time.process_time, point, SHORT)

    assert 0 < cost < 1000


async def test_a_load_that_is_refused_has_no_cost(tiny_repository):
    async with running_daemon(tiny_repository, backend="synthetic", max_queue_size=8) as daemon:
        with pytest.raises(RuntimeError, match="snippets were refused"):
            await cost_ms(
                daemon.endpoints.grpc,
                ("tiny_rgb",),
                time.process_time,
                Point(64, streams=64),
                SHORT,
            )


def test_costs_that_stay_level_are_flat_and_others_fail():
    level = {Point(n, streams=n): [0.2, 0.21, 0.19] for n in (1, 8, 64)}
    rising = {**level, Point(256, streams=256): [0.3, 0.31, 0.29]}

    assert [line[:4] for line in flatness(level)] == ["ok  "]
    assert [line[:4] for line in flatness(rising)] == ["ok  ", "FAIL"]


def test_a_table_has_a_row_for_each_point_beside_the_first():
    costs = {Point(1): [0.2, 0.2], Point(2): [0.1, 0.1]}

    assert table("group", costs)[2:] == [
        "| 1 | 0.200 (0.200..0.200) | 1.000 (1.000..1.000) |",
        "| 2 | 0.100 (0.100..0.100) | 0.500 (0.500..0.500) |",
    ]
