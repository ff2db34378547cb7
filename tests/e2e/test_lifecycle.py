"""The program as its service manager and its operator see it: signals, sd_notify, commands."""

import re
import signal

import pytest

from tests.certificates import Authority
from tests.programs import program, run_tsnd, service_manager
from tests.streams import frames
from tsnd_client import CallFailed, Client, ClientError, SnippetScores
from tsnd_daemon.security.tokens import Right, Token, digest_of, parse_tokens


def heard_until(listener, word):
    """The states that are told up to one, watchdog's left out; fails when it never comes."""
    states: list[str] = []
    while not states or states[-1] != word:
        state = listener.recv(4096).decode().partition("\n")[0]
        if state != "WATCHDOG=1":
            states.append(state)
    return states


def log_until(process, words):
    """Lines of the log up to one with certain words."""
    lines = []
    for line in process.stderr:
        lines.append(line)
        if words in line:
            return "".join(lines)
    raise AssertionError(f"no {words!r} in {''.join(lines)}")


def test_the_service_manager_hears_of_start_life_reload_and_stop(tiny_repository, tmp_path):
    with (
        service_manager(tmp_path) as (listener, environment),
        program("--model-repository", str(tiny_repository), environment=environment) as daemon,
    ):
        assert heard_until(listener, "READY=1") == ["READY=1"]
        assert [listener.recv(4096) for _ in range(3)] == [b"WATCHDOG=1"] * 3
        daemon.process.send_signal(signal.SIGHUP)
        assert heard_until(listener, "READY=1") == ["RELOADING=1", "READY=1"]
        status, log = daemon.end(signal.SIGTERM)
        assert heard_until(listener, "STOPPING=1") == ["STOPPING=1"]

    assert status == 0, log


def test_a_daemon_whose_loop_is_stuck_falls_silent(tiny_repository, tmp_path):
    with (
        service_manager(tmp_path) as (listener, environment),
        program("--model-repository", str(tiny_repository), environment=environment) as daemon,
    ):
        heard_until(listener, "READY=1")
        daemon.process.send_signal(signal.SIGSTOP)  # nothing of it runs from here on
        listener.settimeout(1.0)  # two and a half times what the manager allows
        with pytest.raises(TimeoutError):
            while True:  # what was said before lies in the socket
                listener.recv(4096)


def test_sighup_takes_up_tokens_certificates_and_log_level_and_keeps_streams(
    tiny_repository, tmp_path
):
    authority = Authority(tmp_path / "authority")
    certificate, key = authority.issue()
    tokens, config = tmp_path / "tokens.toml", tmp_path / "tsnd.toml"
    first, second = new_token("one"), new_token("two")
    tokens.write_text(first[1])
    config.write_text(
        f"model_repository = '{tiny_repository}'\ntls_certificate = '{certificate}'\n"
        f"tls_key = '{key}'\ntokens = '{tokens}'\nlog_level = 'WARNING'\n"
    )

    def client(token):
        return Client(daemon.target, tls=authority.tls(), token=token)

    with program("--config", str(config)) as daemon, client(first[0]) as before:
        stream = before.score_stream(before.model("tiny_rgb"), frames(0, 500))
        got = [next(stream)]
        with client(second[0]) as early, pytest.raises(CallFailed, match="UNAUTHENTICATED"):
            early.models()

        tokens.write_text(first[1] + second[1])
        authority.issue()
        config.write_text(config.read_text().replace("WARNING", "INFO") + "max_batch_size = 4\n")
        daemon.process.send_signal(signal.SIGHUP)
        log = log_until(daemon.process, "are reloaded")
        with client(second[0]) as after:
            assert len(after.models()) == 2
        got += stream

        config.write_text("port =")
        daemon.process.send_signal(signal.SIGHUP)
        refused = log_until(daemon.process, "nothing is reloaded")
        with client(second[0]) as still:
            assert len(still.models()) == 2
        status, rest = daemon.end(signal.SIGTERM)

    assert [r.snippet_id for r in got] == [f"0/{index}" for index in range(500)]
    assert "max_batch_size changed, which takes a new start" in log
    assert "is not valid TOML" in refused
    assert (status, "Traceback" in rest) == (0, False)


def new_token(name):
    """A token as the command makes it; returns it and the table that lets it in."""
    made = run_tsnd("token", "new", name)
    assert made.returncode == 0, made.stderr
    (secret,) = [line.split()[-1] for line in made.stdout.splitlines() if "  tsnd_" in line]
    return secret, made.stdout


def test_a_new_token_is_printed_once_with_the_lines_that_let_it_in():
    secret, text = new_token("camera 7")
    every_line = re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE)

    assert secret.startswith("tsnd_")
    (token,) = parse_tokens(text).values()
    assert (token.sha256, token.rights) == (digest_of(secret), frozenset())
    (full,) = parse_tokens(every_line).values()
    assert full.rights == set(Right)
    assert full.model_fields_set == set(Token.model_fields), "each key is shown"
    assert list(parse_tokens(text)) == ["camera 7"]


def test_check_config_says_what_would_be_served_and_how(tiny_repository, tmp_path):
    certificate, key = Authority(tmp_path / "a").issue()
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(new_token("one")[1])
    secured = ["--tls-certificate", str(certificate), "--tls-key", str(key)]
    repository = ["--model-repository", str(tiny_repository)]

    plain = run_tsnd("check-config", *repository)
    guarded = run_tsnd(
        "check-config", *repository, *secured, "--tokens", str(tokens), "--host", "0.0.0.0"
    )

    assert (plain.returncode, guarded.returncode) == (0, 0), plain.stderr + guarded.stderr
    assert "gRPC on 127.0.0.1 port 8001, without TLS, no tokens" in plain.stdout
    assert "gRPC on 0.0.0.0 port 8001, TLS, tokens asked for" in guarded.stdout
    assert "tiny_flow, tiny_rgb" in plain.stdout


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--model-repository", "nowhere"], "model repository nowhere is not a folder"),
        (["--host", "0.0.0.0"], "nothing is encrypted"),
        (["--tokens", "none.toml"], "--tokens none.toml: No such file"),
        (["--tls-certificate", "c", "--tls-key", "k"], "--tls-certificate c: No such file"),
        (["--config", "FILE"], "settings for typo, and no such model"),
    ],
)
def test_check_config_tells_what_would_end_the_start_with_status_2(
    tiny_repository, tmp_path, flags, reason
):
    file = tmp_path / "tsnd.toml"
    file.write_text("[models.typo]\nweight = 2\n")
    flags = [str(file) if flag == "FILE" else flag for flag in flags]
    found = run_tsnd("check-config", "--model-repository", str(tiny_repository), *flags)

    assert found.returncode == 2
    assert reason in found.stderr
    assert found.stdout == ""
    assert "Traceback" not in found.stderr


def test_a_daemon_that_was_killed_is_started_again_on_its_port_at_once(tiny_repository):
    """What was answered stays answered; the rest is known to be not, and is sent again."""
    arguments = ("--model-repository", str(tiny_repository))
    with program(*arguments) as first:
        port = int(first.target.rpartition(":")[2])
        with Client(first.target, max_in_flight=16) as client:
            stream = client.score_stream(client.model("tiny_rgb"), frames(0, 400))
            got = [next(stream) for _ in range(100)]
            first.process.kill()
            with pytest.raises(ClientError):
                got.extend(iter(lambda: next(stream), None))
    with program(*arguments, ports=(port, 0)) as second, Client(second.target) as client:
        rest = list(frames(0, 400))[len(got) :]
        got += client.score_stream(client.model("tiny_rgb"), rest)

    assert [r.snippet_id for r in got] == [f"0/{index}" for index in range(400)]
    scored = [r for r in got if isinstance(r, SnippetScores)]
    assert [list(r.scores[:3]) for r in scored] == [[0, i >> 8, i & 255] for i in range(400)]
