import json
import os
import re
import signal
import subprocess
import sys
from importlib.metadata import version
from queue import SimpleQueue

import grpc
import numpy as np
import pytest

from tests.client.toy_daemon import bad, full, good, message, rejected, wait_for_end
from tsnd_client.cli import main

TSN = [sys.executable, "-c", "import sys; from tsnd_client.cli import main; sys.exit(main())"]


@pytest.fixture
def score(serve, video):
    """Run `tsn score` on the video with the toy rgb model: score(*more_arguments, stream=...)."""

    def run(*arguments, model="toy-rgb", **handler):
        target = serve(**handler).target
        return main(["score", str(video), "--model", model, "--target", target, *arguments])

    return run


def test_models_are_listed_as_text(serve, capsys):
    assert main(["models", "--target", serve().target]) == 0

    assert capsys.readouterr().out.splitlines()[1:] == [
        "toy-rgb   version 3  rgb   3 classes",
        "toy       pair of toy-rgb and toy-flow",
    ]


def test_models_are_listed_as_json(serve, capsys):
    target = serve().target
    assert main(["models", "--json", "--target", target]) == 0

    record = json.loads(capsys.readouterr().out)
    assert record["target"] == target
    assert [model["name"] for model in record["models"]] == ["toy-flow", "toy-rgb"]
    assert record["models"][0]["snippet_shape"] == [4, 6, 8]
    assert record["models"][0]["outputs"][1] == {
        "name": "features",
        "data_type": "float32",
        "shape": [2],
    }
    assert "labels" not in record["models"][0]
    assert record["pairs"] == [{"name": "toy", "rgb_model": "toy-rgb", "flow_model": "toy-flow"}]


def test_labels_are_listed_when_asked_for(serve, capsys):
    assert main(["models", "--json", "--labels", "--target", serve().target]) == 0

    record = json.loads(capsys.readouterr().out)
    assert record["models"][0]["labels"] == ["blue", "green", "red"]


def test_labels_without_json_are_refused(capsys):
    assert main(["models", "--labels"]) == 2

    assert "--labels goes with --json" in capsys.readouterr().err


def test_a_model_that_goes_while_it_is_listed_is_left_out(serve, capsys):
    running = serve()
    running.daemon.gone.add("toy-flow")

    assert main(["models", "--json", "--target", running.target]) == 0

    (model,) = json.loads(capsys.readouterr().out)["models"]
    assert model["name"] == "toy-rgb"


def test_a_video_is_scored_per_snippet_and_as_a_whole(score, capsys):
    assert score("--top", "2") == 0

    out, err = capsys.readouterr()
    header, *snippets, title, best, second, speed = out.splitlines()
    assert header.startswith("toy-rgb version 3: top 2 of 3 classes")
    assert [line.split("  frame")[0] for line in snippets] == [
        "    0.00 s",
        "    0.20 s",
        "    0.40 s",
        "    0.60 s",
    ]
    assert all(line.count("%") == 2 for line in snippets)
    assert title == "whole video (mean of the scores of 4 snippets, then softmax)"
    assert best.endswith("%")
    assert second.endswith("%")
    assert speed.startswith("4 snippets in")
    assert err == ""


def test_quiet_prints_the_whole_video_alone(score, capsys):
    assert score("--quiet") == 0

    assert capsys.readouterr().out.startswith("whole video")


def test_results_are_written_as_jsonl(score, tmp_path):
    assert score("--out", str(tmp_path / "out.jsonl"), "--stride", "10", "--features") == 0

    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(row["frame_index"], row["time_s"]) for row in rows] == [(0, 0.0), (10, 0.4)]
    assert rows[1]["features"] == pytest.approx([100, 100], abs=8)


def test_results_are_written_as_npz(score, tmp_path):
    assert score("--out", str(tmp_path / "out.npz")) == 0

    with np.load(tmp_path / "out.npz") as arrays:
        assert arrays["scores"].shape == (4, 3)
        assert arrays["scores"][:, 0] == pytest.approx([0, 50, 100, 150], abs=8)


def test_rejected_snippets_are_counted_and_fail_the_command(score, capsys):
    def reject_one(requests, context):
        for request in requests:
            yield message(*((bad if s.id == "frame/5" else good)(s) for s in request.snippets))

    assert score(stream=reject_one) == 1

    out, err = capsys.readouterr()
    assert "the scores of 3 snippets" in out
    assert err == (
        "tsn: error: 1 of 4 snippets were not scored; the first: "
        "snippet 'frame/5' was rejected with INVALID_ARGUMENT: not to my taste\n"
    )


def test_a_video_without_one_scored_snippet_writes_no_file(score, tmp_path, capsys):
    def reject_all(requests, context):
        return map(rejected, requests)

    assert score("--out", str(tmp_path / "out.npz"), stream=reject_all) == 1

    assert not (tmp_path / "out.npz").exists()
    assert "4 of 4 snippets" in capsys.readouterr().err


def test_an_interrupted_stream_fails_and_keeps_what_was_scored_under_another_name(
    score, tmp_path, capsys
):
    def fail(requests, context):
        yield message(good(next(requests).snippets[0]))
        context.abort(grpc.StatusCode.INTERNAL, "broken")

    assert score("--out", str(tmp_path / "out.npz"), stream=fail) == 1

    assert not (tmp_path / "out.npz").exists()
    assert np.load(tmp_path / "out.partial.npz")["scores"].shape == (1, 3)
    err = capsys.readouterr().err
    assert err.startswith("tsn: the 1 snippets scored so far are in ")
    assert "tsn: error: the stream ended early" in err


def test_a_stream_that_the_daemon_ends_is_gone_on_with(score, tmp_path, capsys):
    def drain_after_each(requests, context):
        yield message(good(next(requests).snippets[0]))
        context.abort(grpc.StatusCode.UNAVAILABLE, "draining")

    assert score("--out", str(tmp_path / "out.npz"), stream=drain_after_each) == 0

    assert np.load(tmp_path / "out.npz")["frame_index"].tolist() == [0, 5, 10, 15]
    err = capsys.readouterr().err
    assert err.startswith("tsn: warning: the stream ended early with UNAVAILABLE: draining.")
    assert "Trying again in 0." in err


def test_frames_are_sent_in_groups_of_half_of_what_may_be_in_flight(serve, video):
    running = serve()

    arguments = ["--stride", "1", "--max-in-flight", "6", "--target", running.target]
    assert main(["score", str(video), "--model", "toy-rgb", *arguments]) == 0

    assert [len(request.snippets) for request in running.daemon.requests] == [3] * 6 + [2]


@pytest.mark.parametrize(
    ("arguments", "number"),
    [
        ([], 1),
        (["--priority", "normal"], 1),
        (["--priority", "bulk"], 2),
        (["--priority", "real-time"], 0),
    ],
)
def test_a_video_is_scored_at_the_priority_asked_for(serve, video, arguments, number):
    running = serve()

    main(["score", str(video), "--model", "toy-rgb", "--target", running.target, *arguments])

    assert {request.priority for request in running.daemon.requests} == {number}


def test_an_unknown_priority_is_refused_with_those_that_there_are(capsys):
    assert main(["score", "v.mp4", "--model", "x", "--priority", "high"]) == 2

    assert "expected real-time or normal or bulk, got 'high'" in capsys.readouterr().err


def test_a_pair_scores_a_video_with_its_rgb_model(score, capsys):
    assert score(model="toy") == 0

    assert capsys.readouterr().out.startswith("toy-rgb version 3")


def test_frames_without_room_are_sent_again_and_written_in_their_place(score, tmp_path, capsys):
    refused: list[str] = []

    def no_room_for_the_first(requests, context):
        for request in requests:
            for snippet in request.snippets:
                if refused:
                    yield message(good(snippet))
                else:
                    refused.append(snippet.id)
                    yield message(full(snippet))

    assert score("--out", str(tmp_path / "out.npz"), stream=no_room_for_the_first) == 0

    assert refused == ["frame/0"]
    assert np.load(tmp_path / "out.npz")["frame_index"].tolist() == [0, 5, 10, 15]
    assert capsys.readouterr().err == ""


def test_a_version_that_changes_within_a_video_is_warned_about(score, capsys):
    def roll_out(requests, context):
        for request in requests:
            first, *others = request.snippets
            yield message(good(first), *(good(snippet, version=4) for snippet in others))

    assert score(stream=roll_out) == 0

    assert "tsn: warning: versions 3, 4 of the model" in capsys.readouterr().err


def test_broken_frames_are_reported(score, video, capsys):
    content = bytearray(video.read_bytes())
    middle = content.index(b"mdat") + 1000
    content[middle : middle + 100] = np.random.default_rng(0).bytes(100)
    video.write_bytes(content)

    assert score() == 0

    assert "tsn: warning: skipped" in capsys.readouterr().err


def test_a_flow_model_is_refused_with_the_way_to_use_it(serve, video, capsys):
    arguments = ["score", str(video), "--model", "toy-flow", "--target", serve().target]

    assert main(arguments) == 2

    err = capsys.readouterr().err
    assert "`tsn score` makes rgb snippets only" in err
    assert "pixels uint8 [4, 6, 8]" in err


def test_an_unknown_model_is_bad_input(serve, video, capsys):
    assert main(["score", str(video), "--model", "x", "--target", serve().target]) == 2

    assert "does not serve model 'x'" in capsys.readouterr().err


def test_an_unreachable_daemon_is_a_failure(capsys):
    assert main(["models", "--target", "127.0.0.1:1"]) == 1

    assert capsys.readouterr().err.startswith("tsn: error: no daemon serves at 127.0.0.1:1")


def test_a_destination_is_checked_before_anything_else(video, capsys):
    arguments = ["score", str(video), "--model", "x", "--target", "127.0.0.1:1"]

    assert main([*arguments, "--out", "out.csv"]) == 2

    assert "expected a name that ends in .jsonl or .npz" in capsys.readouterr().err


def test_a_video_is_checked_before_the_daemon_is_asked(tmp_path, capsys):
    path = str(tmp_path / "nowhere.mp4")

    assert main(["score", path, "--model", "x", "--target", "127.0.0.1:1"]) == 2

    assert "there is no file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [[], ["score"], ["score", "v.mp4", "--model", "x", "--stride", "0"], ["nonsense"]],
)
def test_wrong_usage_is_one_line_and_status_two(arguments, capsys):
    assert main(arguments) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"tsn: error: [^\n]+ See `tsn[ a-z]* --help`\.\n", err)


def test_a_command_that_is_misspelt_is_told_from_those_that_there_are(capsys):
    assert main(["modles"]) == 2

    assert "Did you mean 'models'?" in capsys.readouterr().err


def test_the_version_is_printed(capsys):
    assert main(["--version"]) == 0

    assert capsys.readouterr().out == f"tsn {version('tsnd')}\n"


@pytest.mark.parametrize("command", ["models", "health", "score", "bench"])
def test_every_command_has_help_in_plain_text(command, capsys):
    assert main([command, "--help"]) == 0

    out = capsys.readouterr().out
    assert out.startswith(f"Usage: tsn {command} [OPTIONS]")
    assert "--target HOST:PORT" in out
    assert out.isascii()  # no panels


def test_help_needs_neither_numpy_nor_video_nor_rich():
    program = (
        "import sys; from tsnd_client.cli import main; main(['bench', '--help']); "
        "print(sorted({'numpy', 'av', 'cv2', 'rich'} & set(sys.modules)), file=sys.stderr)"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stderr == "[]\n"


def test_a_missing_extra_is_one_line_with_the_remedy():
    program = (
        "import sys; sys.modules['av'] = None; from tsnd_client.cli import main; "
        "sys.exit(main(['score', 'video.mp4', '--model', 'x']))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "pip install 'tsnd[video]'" in done.stderr


def test_a_reader_that_went_away_causes_no_traceback(serve):
    read_end, write_end = os.pipe()
    os.close(read_end)

    done = subprocess.run(
        [*TSN, "models", "--target", serve().target],
        stdout=write_end,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write_end)

    assert (done.returncode, done.stderr) == (141, "")


def test_ctrl_c_ends_with_status_130_and_no_traceback(serve, video):
    processes: SimpleQueue[subprocess.Popen[str]] = SimpleQueue()

    def interrupt(requests, context):
        yield message(good(next(requests).snippets[0]))
        processes.get().send_signal(signal.SIGINT)
        wait_for_end(context)

    target = serve(interrupt).target
    with subprocess.Popen(
        [*TSN, "score", str(video), "--model", "toy-rgb", "--target", target],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        processes.put(process)
        _, err = process.communicate(timeout=20)

    assert (process.returncode, err) == (130, "tsn: interrupted\n")
