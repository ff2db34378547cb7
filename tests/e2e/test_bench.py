"""`tsn bench` against a real daemon: what it counts is what happened."""

import asyncio
import threading

import pytest

from tests.bench_arguments import bench_arguments
from tests.certificates import Authority
from tests.daemons import running_daemon
from tests.streams import assert_nothing_is_left, samples
from tsnd_client.bench.command import bench
from tsnd_client.bench.plan import to_plan
from tsnd_daemon.executors.synthetic import SyntheticExecutor
from tsnd_daemon.security.tokens import new_token, to_table

SHORT = ("--warm-up-s", "0", "--duration-s", "0.5", "--drain-s", "10")


async def load(daemon, *arguments, model="tiny_rgb", timing=SHORT):
    """Run `tsn bench` in this event loop; returns its one run."""
    command = ["--model", model, "--target", daemon.endpoints.grpc, *timing, *arguments]
    results = await bench(to_plan(bench_arguments(*command)))
    (run,) = results.runs
    return run


def answers(run):
    return run.all.answered + sum(run.all.refused.values())


@pytest.mark.parametrize("model", ["tiny_rgb", "tiny_flow"])
@pytest.mark.parametrize("payload", ["raw", "jpeg", "shared"])
async def test_every_snippet_is_accounted_for_whatever_its_payload(tiny_repository, model, payload):
    async with running_daemon(tiny_repository, make_executor=SyntheticExecutor) as daemon:
        load_it = ("--rate", "200", "--streams", "4", "--group", "2", "--payload", payload)
        run = await load(daemon, *load_it, model=model)
        await assert_nothing_is_left(daemon)
        ran = samples(daemon.endpoints.metrics)["tsnd_inferences_total", model, "1"]

    assert run.accounts_close
    assert run.all.due == run.all.sent == run.all.answered == ran
    assert sum(run.batch_sizes.values()) == run.all.answered
    assert 1 <= run.mean_batch <= 8


async def test_a_daemon_that_sheds_load_is_reported_by_code(tiny_repository):
    def slow(model):
        return SyntheticExecutor(model, max_batch_size=1, execution_s=0.02)

    options = {"max_batch_size": 1, "max_queue_size": 4}
    async with running_daemon(tiny_repository, make_executor=slow, **options) as daemon:
        run = await load(daemon, "--rate", "200", "--streams", "4")
        await assert_nothing_is_left(daemon)

    assert run.accounts_close
    assert run.all.refused["RESOURCE_EXHAUSTED"] > 0
    assert answers(run) == run.all.sent == run.all.due


async def test_missed_deadlines_are_counted_by_priority(tiny_repository):
    def slow(model):
        return SyntheticExecutor(model, max_batch_size=1, execution_s=0.02)

    streams = ["--stream", "rate=20,priority=real-time"]
    streams += ["--stream", "count=2,rate=50,priority=bulk,timeout_ms=10"]
    async with running_daemon(tiny_repository, make_executor=slow, max_batch_size=1) as daemon:
        run = await load(daemon, *streams)

    assert run.accounts_close
    assert (
        run.by_priority["bulk"].deadline_missed
        >= run.by_priority["bulk"].refused["DEADLINE_EXCEEDED"]
    )
    assert run.by_priority["bulk"].refused["DEADLINE_EXCEEDED"] > 0
    assert run.by_priority["real-time"].refused == {}


async def test_a_stall_of_the_daemon_shows_in_percentiles(tiny_repository):
    class StallsOnce(SyntheticExecutor):
        batches = 0

        def finish(self, slot):
            self.batches += 1
            if self.batches == 40:
                threading.Event().wait(0.5)
            return super().finish(slot)

    timing = ("--warm-up-s", "0", "--duration-s", "1.5", "--drain-s", "10")
    async with running_daemon(tiny_repository, make_executor=StallsOnce) as daemon:
        run = await load(daemon, "--rate", "100", "--streams", "2", timing=timing)

    # A third of the snippets were due during the stall; one batch of them was on its way.
    assert run.all.latency_ms.max >= 400
    assert run.all.latency_ms.p90 >= 200


async def test_a_daemon_that_stops_ends_the_run(tiny_repository):
    async with running_daemon(tiny_repository, make_executor=SyntheticExecutor) as daemon:
        asyncio.get_running_loop().call_later(0.3, daemon.server.stop)
        timing = ("--warm-up-s", "0", "--duration-s", "30")
        run = await load(daemon, "--rate", "100", "--streams", "2", timing=timing)

    assert "UNAVAILABLE" in run.ended_early
    assert run.accounts_close
    assert run.measured_s < 10


@pytest.mark.parametrize("reply", [("--top-k", "3"), ("--outputs", "scores", "--half")])
async def test_less_of_a_result_can_be_asked_for(tiny_repository, reply):
    async with running_daemon(tiny_repository) as daemon:
        run = await load(daemon, "--in-flight", "2", "--streams", "2", *reply)

    assert run.accounts_close
    assert run.all.answered > 0


async def test_a_daemon_with_tls_and_tokens_is_loaded_with_those_of_the_environment(
    tiny_repository, tmp_path, monkeypatch
):
    authority, tokens = Authority(tmp_path / "authority"), tmp_path / "tokens.toml"
    certificate, key = authority.issue()
    secret = new_token()
    tokens.write_text(to_table("bench", secret))
    monkeypatch.setenv("TSND_TOKEN", secret)
    monkeypatch.setenv("TSND_CA", str(authority.certificate))
    settings = {"tls_certificate": certificate, "tls_key": key, "tokens": tokens}
    async with running_daemon(
        tiny_repository, make_executor=SyntheticExecutor, **settings
    ) as daemon:
        run = await load(daemon, "--rate", "200", "--streams", "2")

    assert run.accounts_close
    assert run.all.sent == run.all.answered > 0
