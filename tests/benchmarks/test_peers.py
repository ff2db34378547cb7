"""The comparison with other servers: what can be had without them."""

import asyncio
import os
import select
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from benchmarks.load import Load, Measured, measure
from benchmarks.peers import table
from benchmarks.peers.__main__ import check_same_work, names
from benchmarks.peers.contestants import WAYS, Kind, Pixels, Server, Way
from benchmarks.peers.http_lane import BadReply, HttpDoor, parse_head
from benchmarks.peers.models import Case
from benchmarks.peers.processes import (
    NotStarted,
    ProcessStat,
    cpu_s,
    descendants,
    parse_stat,
    running,
)
from benchmarks.peers.rounds import IN_FLIGHT, Contest, Findings, streams_of
from benchmarks.peers.servers.engine import Engine, Settings
from benchmarks.peers.triton_lane import TritonDoor, infer_message
from tests.daemons import running_daemon
from tsnd_client.bench.generator import Timing
from tsnd_client.bench.lane import Door, Served
from tsnd_client.bench.ramp import Step

SERVED = Served("127.0.0.1:1", "bench", "1", "rgb", (2, 2, 3), "", "", 8)
SHORT = Timing(warm_up_s=0.05, duration_s=0.3, drain_s=2.0)
CASE = Case("a case", Path(), Path(), "fp32", (2, 2, 3), 50.0, heavy=False)


def test_a_process_may_have_any_name():
    fields = [0] * 50
    fields[1], fields[11], fields[12], fields[13], fields[14], fields[19] = 7, 1, 2, 3, 4, 99
    text = f"42 (a ) b (c)) S {' '.join(map(str, fields[1:]))}"

    assert parse_stat(text) == ProcessStat(pid=42, parent=7, started=99, ticks=10)


def test_what_a_process_has_started_is_found_at_any_depth():
    family = [ProcessStat(pid, parent, 0, 1) for pid, parent in ((5, 4), (4, 3), (3, 1), (9, 1))]

    assert [each.pid for each in descendants(3, family)] == [3, 4, 5]


def test_processor_time_of_a_process_grows_with_what_it_computes():
    before_s = cpu_s(os.getpid())
    begun_s = os.times().user
    while os.times().user - begun_s < 0.1:
        sum(range(10_000))

    assert 0.05 <= cpu_s(os.getpid()) - before_s < 5.0


async def test_a_server_that_ends_before_it_answers_is_quoted(tmp_path):
    command = ("sh", "-c", "echo no port is free; exit 3")

    with pytest.raises(NotStarted, match="status 3: no port is free"):
        async with running(command, {}, tmp_path / "log", is_ready=bool, patience_s=20.0):
            pass


async def test_a_server_is_ended_with_all_that_it_has_started(tmp_path):
    children = tmp_path / "children"
    command = (
        "sh",
        "-c",
        f"sleep 600 & echo $! > {children}.new; mv {children}.new {children}; wait",
    )

    async with running(command, {}, tmp_path / "log", is_ready=children.exists, patience_s=20.0):
        watch = os.pidfd_open(int(children.read_text()))

    ended, _, _ = select.select([watch], [], [], 10.0)
    os.close(watch)
    assert ended


@asynccontextmanager
async def http_server(reply: bytes) -> AsyncIterator[int]:
    """Answer every request of 12 bytes with the same bytes, in two pieces; yields the port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(12)
                writer.write(reply[:9])
                await writer.drain()
                writer.write(reply[9:])
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def load_http(reply: bytes) -> Measured:
    async with http_server(reply) as port:
        door = HttpDoor(port, "/", bytes(12), SERVED)
        return await measure(door, time.process_time, Load(SHORT, streams_of(1)), p99_ms=1000.0)


async def test_answers_over_http_are_counted():
    found = await load_http(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    assert found.per_s > 0
    assert (found.refused, found.failure) == (0, "")


async def test_an_error_over_http_is_no_answer():
    found = await load_http(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n")

    assert found.per_s == 0
    assert found.refused > 0
    assert not found.within


async def test_a_reply_without_a_length_ends_the_load_and_says_so():
    found = await load_http(b"HTTP/1.1 200 OK\r\n\r\nhello")

    assert "closed a connection" in found.failure


async def test_a_server_that_is_not_there_ends_the_load_and_says_so():
    async with http_server(b"") as port:
        pass
    door = HttpDoor(port, "/", bytes(12), SERVED)

    found = await measure(door, time.process_time, Load(SHORT, streams_of(1)), p99_ms=1000.0)

    assert "takes no connection" in found.failure


def test_a_head_is_read_whatever_the_case_of_its_names():
    assert parse_head(b"HTTP/1.1 429 Slow\r\nX: y:z\r\nCONTENT-length: 17") == (429, 17)
    with pytest.raises(BadReply, match="Content-Length"):
        parse_head(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked")


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_message_that_is_refused_is_no_answer(tiny_repository, streaming):
    message = infer_message("tiny_rgb", "snippets", (1, 1, 3), bytes(3))
    async with running_daemon(tiny_repository, backend="synthetic") as daemon:
        door = TritonDoor(daemon.endpoints.grpc, message, SERVED, streaming=streaming)
        found = await measure(
            door, time.process_time, Load(SHORT, streams_of(1), rate_per_s=200.0), p99_ms=1000.0
        )

    assert found.per_s == 0
    assert found.refused > 0


@pytest.mark.parametrize("streaming", [True, False])
async def test_messages_made_once_are_answered_by_any_kserve_server(tiny_repository, streaming):
    shape = (16, 21, 3)
    message = infer_message("tiny_rgb", "snippets", shape, bytes(16 * 21 * 3))
    async with running_daemon(tiny_repository, backend="synthetic") as daemon:
        door = TritonDoor(daemon.endpoints.grpc, message, SERVED, streaming=streaming)
        found = await measure(
            door, time.process_time, Load(SHORT, streams_of(1), rate_per_s=200.0), p99_ms=1000.0
        )

    assert found.per_s > 0
    assert (found.refused, found.failure) == (0, "")


@pytest.mark.parametrize("group", [1, 4, 8, 32])
def test_as_many_snippets_are_in_flight_whatever_the_group(group):
    (kind,) = streams_of(group)

    assert kind.count * kind.in_flight == IN_FLIGHT
    assert kind.in_flight % group == 0


def test_every_way_has_a_title_of_its_own():
    assert len({each.title for each in WAYS}) == len(WAYS)


def test_the_engine_gives_each_snippet_its_own_row_of_every_output(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(two_outputs(), path)
    engine = Engine(Settings(str(path), (2,), 0, 8, 2, 1, 1))

    results = engine.score([bytes([1, 2]), bytes([3, 4])])

    assert [np.frombuffer(each, np.float32).tolist() for each in results] == [
        [1.0, 2.0, -1.0, -2.0],
        [3.0, 4.0, -3.0, -4.0],
    ]
    assert engine.lengths() == {"scores": 2, "features": 2}


def two_outputs() -> onnx.ModelProto:
    """Return a model whose scores are its pixels, and whose features their opposite."""
    nodes = [
        helper.make_node("Cast", ["snippets"], ["scores"], to=TensorProto.FLOAT),
        helper.make_node("Neg", ["scores"], ["features"]),
    ]
    values = [
        helper.make_tensor_value_info(name, kind, ["n", 2])
        for name, kind in (
            ("snippets", TensorProto.UINT8),
            ("scores", TensorProto.FLOAT),
            ("features", TensorProto.FLOAT),
        )
    ]
    graph = helper.make_graph(nodes, "two", values[:1], values[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def way(name: str, *answer: float) -> Way:
    """Make a way to a server that gives the same answer to all."""

    def door(server: Server, case: Case, pixels: Pixels) -> Door:
        raise AssertionError("nothing is loaded here")

    return Way(name, Kind(name, lambda port, pixels: np.array(answer, np.float32)), door)


def test_a_server_that_answers_otherwise_is_not_compared():
    ways = [way("a", 1.0, 2.0), way("b", 1.0, 3.0)]
    servers = {"a": Server(1, 1), "b": Server(2, 2)}

    with pytest.raises(ValueError, match=r"b and a differ by 0\.5"):
        check_same_work(ways, servers, np.zeros(1, np.uint8))
    check_same_work(ways[:1], servers, np.zeros(1, np.uint8))


def findings(title: str, *rates: float, steps: tuple[Step, ...] = ()) -> Findings:
    turns = [Measured(rate, 5.0, 9.0, True, 100.0, 0, False, "") for rate in rates]
    return Findings(way(title), list(turns), list(turns), list(steps))


def test_ratios_are_taken_round_by_round():
    steps = (Step(230.0, holds=False), Step(115.0, holds=True))
    ours, peer = findings("ours", 200.0, 300.0, steps=steps), findings("peer", 100.0, 100.0)
    contest = Contest(CASE, (ours, peer), (), {"other": "it is not installed"})

    text = list(table.lines(contest))

    (row,) = [line for line in text if line.startswith("| peer")]
    assert "| 2.50 (2.00..3.00) |" in row
    assert "not tried" in row
    (row,) = [line for line in text if line.startswith("| ours")]
    assert "| 115.0 |" in row
    assert "other did not take part: it is not installed" in text


def test_what_makes_numbers_doubtful_is_said():
    ours = findings("ours", 1.0)
    ours.full = [Measured(1.0, 5.0, 9.0, True, 100.0, 3, True, "it ended")]

    text = "\n".join(table.lines(Contest(CASE, (ours,), (), {})))

    assert "generator late or busy in 1 turns of 2" in text
    assert "3 snippets were refused" in text
    assert "ours: it ended" in text


def test_names_that_are_none_are_refused():
    assert names(("a", "b"))("b,a") == ("b", "a")
    with pytest.raises(Exception, match="expected some of a, b, got c"):
        names(("a", "b"))("c")
