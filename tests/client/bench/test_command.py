"""`tsn bench` as its user meets it, on a small real server."""

import json
import signal
import subprocess
import sys

import grpc
import pytest

import tsnd_client.bench
from tests.client.toy_daemon import bad, good, message, scored
from tsnd_client.cli import main

TSN = [sys.executable, "-c", "import sys; from tsnd_client.cli import main; sys.exit(main())"]
CLOSED = ("--in-flight", "2", "--streams", "2")


def refused_by_turns(requests, context):
    """Score every other snippet."""
    for request in requests:
        yield message(
            *(
                bad(snippet, grpc.StatusCode.RESOURCE_EXHAUSTED) if place % 2 else good(snippet)
                for place, snippet in enumerate(request.snippets)
            )
        )


def test_a_closed_loop_is_measured(bench, capsys):
    assert bench(*CLOSED) == 0

    out = capsys.readouterr().out
    assert out.startswith("toy-rgb version 3 (rgb, 6 x 8 x 3, onnxruntime, fp32) at 127.0.0.1:")
    assert "closed loop, 2 streams, raw pixels, native; 0.3 s after 0 s of warm-up" in out
    assert "accounts close: " in out
    assert "snippets by batch size  1: 100%" in out


def test_an_open_loop_is_measured(bench, capsys):
    assert bench("--rate", "100", "--streams", "2", "--arrivals", "constant") == 0

    assert "open loop, constant arrivals, 2 streams" in capsys.readouterr().out


def test_a_flow_model_is_loaded_as_well(bench, capsys):
    assert bench(*CLOSED, model="toy-flow") == 0

    assert "(flow, 4 x 6 x 8" in capsys.readouterr().out


def test_a_sweep_has_a_line_for_each_rate(bench, capsys):
    assert bench("--sweep", "50,100", "--streams", "1") == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if " all " in line] == ["50.0", "100.0"]


def test_priorities_have_lines_of_their_own(bench, capsys):
    streams = ["--stream", "rate=50,priority=real-time", "--stream", "rate=50,priority=bulk"]
    assert bench(*streams, "--arrivals", "constant") == 0

    out = capsys.readouterr().out
    assert " real-time " in out
    assert " bulk " in out


def test_refusals_are_told_by_code(bench, capsys):
    assert bench(*CLOSED, "--group", "2", stream=refused_by_turns) == 0

    assert " RESOURCE_EXHAUSTED" in capsys.readouterr().out


def test_a_search_says_what_holds(bench, capsys):
    search = ("--find-rate", "--p99-ms", "0.0001", "--rate", "500", "--streams", "1")
    assert bench(*search, "--duration-s", "0.02") == 1

    assert "no rate holds a p99 of 0.0001 ms" in capsys.readouterr().out


def test_the_results_are_written_as_json(bench, tmp_path, capsys):
    path = tmp_path / "out.json"
    assert bench("--rate", "100", "--streams", "2", "--json", str(path)) == 0

    record = json.loads(path.read_text())
    assert set(record) == {
        "format", "date", "command", "git", "machine", "daemon", "load", "runs", "find_rate",
    }  # fmt: skip
    assert {"cpu", "cores", "python", "grpcio", "tsnd"} <= set(record["machine"])
    assert record["daemon"]["backend"] == "onnxruntime"
    assert record["daemon"]["precision"] == "fp32"
    assert record["load"]["loop"] == "open"
    assert record["load"]["streams"][0]["priority"] == "normal"
    (run,) = record["runs"]
    assert set(run) == {
        "offered_per_s", "measured_s", "answered_per_s", "all", "by_priority", "queue_ms",
        "compute_ms", "mean_batch", "batch_sizes", "over_time", "generator", "accounts_close",
        "ended_early",
    }  # fmt: skip
    assert set(run["all"]["latency_ms"]) == {"mean", "p50", "p90", "p99", "p99_9", "max"}
    assert run["accounts_close"]
    assert run["all"]["sent"] == run["all"]["answered"] + sum(run["all"]["refused"].values())


def test_the_steps_of_a_search_are_written(bench, tmp_path):
    path = tmp_path / "out.json"
    search = ("--find-rate", "--p99-ms", "0.0001", "--rate", "500", "--streams", "1")
    bench(*search, "--duration-s", "0.02", "--json", str(path))

    found = json.loads(path.read_text())["find_rate"]
    assert found["best_per_s"] is None
    assert found["steps"][0]["rate_per_s"] == 500
    assert not found["steps"][0]["holds"]


def test_a_daemon_that_breaks_its_promise_ends_the_run(bench, capsys):
    def wrong_names(requests, context):
        for request in requests:
            yield scored(request, snippet_id="another")

    assert bench(*CLOSED, stream=wrong_names) == 1

    out = capsys.readouterr().out
    assert "ended early: the daemon ended a stream with UNKNOWN: result of 'another'" in out
    assert "accounts close" in out


def test_a_daemon_that_ends_streams_ends_the_run(bench, capsys):
    def leave(requests, context):
        yield scored(next(requests))
        context.abort(grpc.StatusCode.UNAVAILABLE, "the daemon is stopping")

    assert bench(*CLOSED, stream=leave) == 1

    out = capsys.readouterr().out
    assert "ended early: the daemon ended a stream with UNAVAILABLE: the " in out
    assert "accounts close" in out


def test_a_daemon_that_does_not_answer_is_given_up(bench, capsys):
    def silent(requests, context):
        for _ in requests:
            yield from ()

    assert bench(*CLOSED, "--drain-s", "0.2", stream=silent) == 0

    assert "4 sent = 0 answered + 4 CANCELLED" in capsys.readouterr().out


def test_without_a_daemon_there_is_one_line(capsys):
    assert main(["bench", "--model", "m", "--target", "127.0.0.1:1", "--rate", "5"]) == 1

    err = capsys.readouterr().err
    assert err.startswith("tsn: error: no daemon serves at 127.0.0.1:1")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--stream", "colour=red"), "Keys: count, rate"),
        (("--rate", "5", "--group", "17"), "more than the 16 snippets that this daemon takes"),
        (("--rate", "5", "--outputs", "scores,fc7"), "has no output fc7; it has scores, features"),
        (("--rate", "5", "--payload", "shared"), "Use --payload raw"),
        (("--rate", "5", "--json", "/nowhere/out.json"), "name a file in a folder that exists"),
        ((), "how much load?"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_sent(bench, arguments, complaint, capsys):
    assert bench(*arguments) == 2

    captured = capsys.readouterr()
    assert captured.err.startswith("tsn: error: ")
    assert complaint in captured.err
    assert captured.out == ""


def test_an_unknown_model_is_named(bench, capsys):
    assert bench("--rate", "5", model="nothing") == 2

    assert "does not serve model 'nothing'" in capsys.readouterr().err


def forget(monkeypatch, module):
    """Let a module be imported anew, if it has been before."""
    monkeypatch.delitem(sys.modules, f"tsnd_client.bench.{module}", raising=False)
    monkeypatch.delattr(tsnd_client.bench, module, raising=False)


def test_kserve_without_tritons_client_says_what_to_install(bench, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tritonclient.grpc", None)
    forget(monkeypatch, "kserve")

    assert bench("--rate", "5", "--protocol", "kserve") == 2

    assert "pip install --no-deps tritonclient" in capsys.readouterr().err


def test_plots_without_matplotlib_name_the_extra(bench, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    forget(monkeypatch, "plots")

    assert bench("--rate", "5", "--plot", "out.png") == 2

    assert "pip install 'tsnd[plots]'" in capsys.readouterr().err


def test_ctrl_c_ends_the_load_and_prints_what_there_is(serve):
    command = [*TSN, "bench", "--model", "toy-rgb", "--target", serve().target, "--streams", "2"]
    command += ["--rate", "50", "--warm-up-s", "0", "--duration-s", "60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as tsn:
        assert tsn.stdout
        while b"offered/s" not in tsn.stdout.readline():
            pass
        tsn.send_signal(signal.SIGINT)
        out, err = tsn.communicate(timeout=20)

    assert tsn.returncode == 130
    assert b"accounts close" in out
    assert err == b"tsn: interrupted; these are the numbers so far\n"
