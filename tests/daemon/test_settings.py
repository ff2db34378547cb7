from pathlib import Path

import pytest

from tsnd_daemon.errors import SettingsError
from tsnd_daemon.settings import BatchPolicy, load_settings

REQUIRED = ["--model-repository", "models"]


def test_defaults_are_loopback_and_the_ports_of_the_field():
    settings = load_settings(REQUIRED)

    assert settings.model_repository == Path("models")
    assert (settings.host, settings.port, settings.metrics_port) == ("127.0.0.1", 8001, 8002)
    assert settings.batch_policy == BatchPolicy(8, 2000, 512)


def test_flags_win_over_environment_and_environment_over_file(tmp_path, monkeypatch):
    file = tmp_path / "tsnd.toml"
    file.write_text("model_repository = 'f'\nmax_batch_size = 2\nport = 1\nmetrics_port = 9\n")
    monkeypatch.setenv("TSND_MAX_BATCH_SIZE", "3")
    monkeypatch.setenv("TSND_PORT", "2")

    settings = load_settings(["--config", str(file), "--port", "3"])

    assert settings.model_repository == Path("f")
    assert (settings.max_batch_size, settings.port, settings.metrics_port) == (3, 3, 9)


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        ([], "--model-repository is required"),
        ([*REQUIRED, "--port", "x"], "--port 'x': Input should be a valid integer"),
        ([*REQUIRED, "--port", "65536"], "--port '65536': Input should be less than"),
        ([*REQUIRED, "--max-batch-size", "0"], "--max-batch-size '0'"),
        ([*REQUIRED, "--executor", "magic"], "--executor 'magic'"),
        ([*REQUIRED, "--max-queue-size", "4"], "max_queue_size 4 is less than max_batch_size 8"),
        ([*REQUIRED, "--metrics-port", "8001"], "port and metrics_port are both 8001"),
        (["--config", "nowhere.toml"], "--config nowhere.toml: No such file"),
    ],
)
def test_a_wrong_setting_is_named_with_its_remedy(argv, reason):
    with pytest.raises(SettingsError) as caught:
        load_settings(argv)

    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("max_batch = 4", "there is no setting 'max_batch'"),
        ("port =", "is not valid TOML"),
        ("port = [1, 2]", "--port [1, 2]"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, text, reason):
    file = tmp_path / "tsnd.toml"
    file.write_text(f"{text}\n")

    with pytest.raises(SettingsError) as caught:
        load_settings([*REQUIRED, "--config", str(file)])

    assert reason in str(caught.value)


def test_settings_cannot_be_changed():
    settings = load_settings(REQUIRED)

    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1
