"""The log of a daemon, as programs read it."""

import json
import signal
import subprocess
import sys

import grpc
import pytest

from tests.daemons import running_daemon
from tests.streams import request

STOP_S = 30


def test_every_line_of_a_daemons_life_is_json_when_it_is_asked_for(tiny_repository):
    command = [
        sys.executable, "-m", "tsnd_daemon", "--model-repository", str(tiny_repository),
        "--port", "0", "--metrics-port", "0", "--log-format", "json",
    ]  # fmt: skip
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": "protos:daemon"},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("tsnd ready")
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=STOP_S)

    lines = [json.loads(line) for line in log.splitlines()]
    assert lines[-1]["message"] == "stopped"
    assert {line["level"] for line in lines} == {"INFO"}


@pytest.mark.parametrize(
    ("sent", "is_taken"), [("cam-7/00:1f", True), ("two words", False), ("x" * 65, False)]
)
async def test_a_fault_of_our_own_is_found_in_the_log_by_its_request(
    tiny_repository, monkeypatch, caplog, sent, is_taken
):
    monkeypatch.setattr("tsnd_daemon.services.snippets.deadline_of", lambda context: 1 / 0)
    async with running_daemon(tiny_repository) as daemon:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await daemon.stub.Score(request("one"), metadata=(("x-request-id", sent),))

    (record,) = [record for record in caplog.records if hasattr(record, "request_id")]
    assert failure.value.code() == grpc.StatusCode.INTERNAL
    assert (failure.value.details() or "").endswith(f"under request {record.request_id}")
    assert (record.request_id == sent) == is_taken
    assert record.exc_info is not None
