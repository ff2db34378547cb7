from pathlib import Path

import pytest

from tsnd_daemon.errors import SettingsError
from tsnd_daemon.settings import BatchPolicy, ExecutionOptions
from tsnd_daemon.settings_sources import load_settings
from tsnd_daemon.versions import VersionPolicy

REQUIRED = ["--model-repository", "models"]
OPEN = [*REQUIRED, "--host", "0.0.0.0", "--insecure"]


def settings_of(file, text, *flags):
    """The settings that a file and some flags give."""
    file.write_text(f"model_repository = 'models'\n{text}\n")
    return load_settings(["--config", str(file), *flags])


def test_defaults_are_loopback_and_the_ports_of_the_field():
    settings = load_settings(REQUIRED)

    assert settings.model_repository == Path("models")
    assert (settings.host, settings.port, settings.metrics_port) == ("127.0.0.1", 8001, 8002)
    assert settings.batch_policy == BatchPolicy(8, 2000, 512, stream_quantum=8)
    assert settings.execution_options("any") == ExecutionOptions("auto", "auto", 8)
    assert (settings.model_control, settings.version_policy) == ("none", "latest:1")


def test_flags_win_over_environment_and_environment_over_file(tmp_path, monkeypatch):
    text = "max_batch_size = 2\nport = 1\nmetrics_port = 9"
    monkeypatch.setenv("TSND_MAX_BATCH_SIZE", "3")
    monkeypatch.setenv("TSND_PORT", "2")

    settings = settings_of(tmp_path / "tsnd.toml", text, "--port", "3")

    assert (settings.max_batch_size, settings.port, settings.metrics_port) == (3, 3, 9)


def test_lists_are_written_with_commas_or_as_toml_does(tmp_path, monkeypatch):
    flags = load_settings([*REQUIRED, "--device", "0,2", "--preferred-batch-sizes", "2,4"])
    file = settings_of(tmp_path / "tsnd.toml", "device = [0, 2]\npreferred_batch_sizes = [2, 4]")
    monkeypatch.setenv("TSND_DEVICE", "0,2")

    assert (flags.device, flags.preferred_batch_sizes) == ((0, 2), (2, 4))
    assert (file.device, file.preferred_batch_sizes) == ((0, 2), (2, 4))
    assert load_settings(REQUIRED).device == (0, 2)


def test_each_room_gets_its_part():
    flags = (
        "--max-batch-size 16 --preferred-batch-sizes 4,8 --stream-quantum 2 --backend onnxruntime "
        "--precision int8 --device 1 --instances 3 --slots 4 --compute-threads 5"
    )
    settings = load_settings([*REQUIRED, *flags.split()])

    assert settings.batch_policy == BatchPolicy(16, 2000, 512, (4, 8), 2)
    assert settings.execution_options("any") == ExecutionOptions(
        "onnxruntime", "int8", 16, devices=(1,), instances=3, slots=4, threads=5
    )


def test_a_model_may_have_options_of_its_own_and_keeps_the_others(tmp_path):
    text = """
    backend = "openvino"
    instances = 2
    version_policy = "all"
    [models.special]
    backend = "onnxruntime"
    instances = 0
    version_policy = "latest:2"
    weight = 3
    """
    settings = settings_of(tmp_path / "tsnd.toml", text)
    special, other = settings.execution_options("special"), settings.execution_options("other")

    assert (special.backend, special.precision, special.instances) == ("onnxruntime", "auto", 0)
    assert (other.backend, other.precision, other.instances) == ("openvino", "auto", 2)
    assert settings.version_policy_of("special") == VersionPolicy(latest=2)
    assert settings.version_policy_of("other") == VersionPolicy()
    assert (settings.weight_of("special"), settings.weight_of("other")) == (3.0, 1.0)


def test_pairs_are_named_by_flag_or_file(tmp_path):
    pairs = {"two": ("rgb", "flow"), "old": ("a", "b")}
    flags = load_settings([*REQUIRED, "--pairs", "two=rgb+flow", "--pairs", "old=a+b"])
    file = settings_of(tmp_path / "tsnd.toml", "[pairs]\ntwo = 'rgb+flow'\nold = 'a+b'")

    assert flags.two_stream_pairs == file.two_stream_pairs == pairs


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        ([], "--model-repository is required"),
        ([*REQUIRED, "--port", "x"], "--port 'x': Input should be a valid integer"),
        ([*REQUIRED, "--port", "65536"], "--port '65536': Input should be less than"),
        ([*REQUIRED, "--max-batch-size", "0"], "--max-batch-size '0'"),
        ([*REQUIRED, "--backend", "magic"], "--backend 'magic'"),
        ([*REQUIRED, "--precision", "fp8"], "--precision 'fp8'"),
        ([*REQUIRED, "--max-queue-size", "4"], "max_queue_size 4 is less than max_batch_size 8"),
        ([*REQUIRED, "--preferred-batch-sizes", "4,9"], "preferred_batch_sizes 9 is more than"),
        ([*REQUIRED, "--preferred-batch-sizes", "0"], "--preferred-batch-sizes.0 '0'"),
        ([*REQUIRED, "--metrics-port", "8001"], "port and metrics_port are both 8001"),
        ([*REQUIRED, "--device", "0,0"], "name one or more GPUs, each once"),
        ([*REQUIRED, "--device", ""], "name one or more GPUs, each once"),
        ([*REQUIRED, "--device", "-1"], "--device"),
        ([*REQUIRED, "--slots", "0"], "--slots '0'"),
        ([*REQUIRED, "--stream-quantum", "0"], "--stream-quantum '0'"),
        ([*REQUIRED, "--execution-timeout-s", "0"], "--execution-timeout-s '0'"),
        ([*REQUIRED, "--poll-interval-s", "0"], "--poll-interval-s '0'"),
        ([*REQUIRED, "--model-control", "always"], "--model-control 'always'"),
        ([*REQUIRED, "--version-policy", "newest"], "expected latest:N, all or specific:N,N"),
        ([*REQUIRED, "--pairs", "two=rgb"], "pairs two=rgb: expected two models"),
        ([*REQUIRED, "--pairs", "two=rgb+"], "pairs two=rgb+: expected two models"),
        ([*REQUIRED, "--pairs", "two=a+b+c"], "pairs two=a+b+c: expected two models"),
        ([*REQUIRED, "--host", "0.0.0.0"], "host '0.0.0.0' is open to a network, and nothing is"),
        ([*REQUIRED, "--host", "::"], "name tls_certificate and tls_key, or set insecure"),
        ([*REQUIRED, "--host", "gpu7"], "host 'gpu7' is open to a network"),
        ([*REQUIRED, "--tls-key", "k"], "tls_key without tls_certificate: name both"),
        ([*REQUIRED, "--tls-certificate", "c"], "tls_certificate without tls_key: name both"),
        ([*REQUIRED, "--tls-client-ca", "a"], "tls_client_ca without tls_certificate"),
        ([*OPEN, "--model-control", "explicit"], "name a file of tokens, of which one has"),
        ([*REQUIRED, "--max-streams", "0"], "--max-streams '0'"),
        ([*REQUIRED, "--max-metadata-bytes", "1"], "--max-metadata-bytes '1'"),
        ([*REQUIRED, "--keepalive-interval-s", "0"], "--keepalive-interval-s '0'"),
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
        ("[models.m]\nspeed = 1", "there is no setting 'models.m.speed'"),
        ("[models.m]\nweight = 0", "--models.m.weight 0"),
        ("[models.m]\nversion_policy = 'newest'", "expected latest:N, all or specific:N,N"),
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


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_on_loopback_nothing_has_to_be_secured(host):
    assert load_settings([*REQUIRED, "--host", host]).host == host


@pytest.mark.parametrize(
    "flags",
    [
        ["--insecure"],
        ["--tls-certificate", "c", "--tls-key", "k"],
        ["--tls-certificate", "c", "--tls-key", "k", "--tls-client-ca", "a", "--tokens", "t"],
        ["--insecure", "--model-control", "explicit", "--tokens", "t"],
    ],
)
def test_elsewhere_there_is_tls_or_a_word_that_it_is_not_wanted(flags):
    assert load_settings([*REQUIRED, "--host", "0.0.0.0", *flags]).host == "0.0.0.0"


def test_metrics_stay_on_loopback_wherever_grpc_listens():
    assert load_settings(OPEN).metrics_host == "127.0.0.1"
