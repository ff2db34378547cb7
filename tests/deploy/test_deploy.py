"""What deploy/ names is there: flags, settings, ports, paths; and it reads as what it is."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.certificates import Authority
from tests.programs import program, service_manager
from tsnd_daemon.errors import SettingsError
from tsnd_daemon.security.tokens import new_token, to_table
from tsnd_daemon.settings import Settings
from tsnd_daemon.settings_sources import load_settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNIT, UNIT_SETTINGS = DEPLOY / "systemd" / "tsnd.service", DEPLOY / "systemd" / "tsnd.toml"
DOCKERFILES = sorted(DEPLOY.glob("docker/*.Dockerfile"))
MANIFESTS = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "tsnd.yaml").read_text()))
CLIENT_VARIABLES = set(
    re.findall(r"TSND_\w+", (ROOT / "client/tsnd_client/connection.py").read_text())
)
TEXTS = [
    path for path in sorted(DEPLOY.rglob("*")) if path.is_file() and "grafana" not in path.parts
]
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
SETTING_VARIABLES = {f"TSND_{name.upper()}" for name in Settings.model_fields}


def manifest(kind):
    (found,) = [m for m in MANIFESTS if m["kind"] == kind]
    return found


def pod():
    return manifest("Deployment")["spec"]["template"]["spec"]


def container():
    (found,) = pod()["containers"]
    return found


def unit_values(key):
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(), re.MULTILINE)


def seconds(text):
    """Read a time span of systemd's, of one unit."""
    number = text.removesuffix("min")
    return int(number) * (60 if number != text else 1)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_every_flag_and_variable_is_one_of_tsnd(path):
    text = path.read_text()
    flags = {f"--{name.replace('_', '-')}" for name in Settings.model_fields}
    for line in re.findall(r"(?<![\w.-])tsnd(?: check-config|:\w+ \\\n#)? +(--[^\n]*)", text):
        assert set(re.findall(r"--[a-z][a-z-]+", line)) <= flags | {"--config", "--help"}, line

    assert set(re.findall(r"\bTSND_\w+", text)) <= SETTING_VARIABLES | CLIENT_VARIABLES


def test_the_unit_s_command_lines_are_taken_by_the_program(tmp_path):
    commands = [
        shlex.split(line) for key in ("ExecStartPre", "ExecStart") for line in unit_values(key)
    ]

    assert [c[0] for c in commands] == ["/opt/tsnd/bin/tsnd"] * 2
    assert commands[0][1:] == ["check-config", *commands[1][1:]]
    assert commands[1][1:] == ["--config", "/etc/tsnd/tsnd.toml"]
    settings = load_settings(["--config", str(UNIT_SETTINGS)])
    assert settings.host == "127.0.0.1"
    commented = re.sub(r"^# (\w+ = )", r"\1", UNIT_SETTINGS.read_text(), flags=re.MULTILINE)
    everything = tmp_path / "tsnd.toml"
    everything.write_text(commented)
    assert load_settings(["--config", str(everything)]).tokens is not None


def test_the_unit_gives_the_daemon_time_to_drain_and_reloads_by_sighup():
    drain_grace_s = load_settings(["--config", str(UNIT_SETTINGS)]).drain_grace_s

    assert seconds(*unit_values("TimeoutStopSec")) > drain_grace_s + 5
    assert unit_values("ExecReload") == ["/bin/kill -HUP $MAINPID"]
    assert unit_values("Type") == ["notify"]
    assert unit_values("RestartPreventExitStatus") == ["2"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path):
    unit = tmp_path / "tsnd.service"
    unit.write_text(UNIT.read_text().replace("/opt/tsnd/bin/tsnd", "/bin/true"))
    found = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"},
    )

    assert (found.returncode, found.stderr) == (0, "")


def test_a_daemon_started_as_the_unit_does_is_ready_when_the_manager_hears_so(
    tiny_repository, tmp_path
):
    config = tmp_path / "tsnd.toml"
    config.write_text(
        UNIT_SETTINGS.read_text().replace("/var/lib/tsnd/models", str(tiny_repository))
    )
    with (
        service_manager(tmp_path) as (listener, environment),
        program("--config", str(config), environment=environment) as daemon,
    ):
        assert listener.recv(4096) in (b"READY=1", b"WATCHDOG=1")
        assert daemon.ready.startswith("tsnd ready ")


def stages(dockerfile):
    """The instructions of a Dockerfile: words and the rest of the line, continued ones joined."""
    text = re.sub(r"^#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE)
    return [line.split(None, 1) for line in re.sub(r"\\\n", " ", text).splitlines() if line.strip()]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_images_are_made_of_what_is_there_and_run_without_root(dockerfile):
    lines = stages(dockerfile)
    copied = [rest.split()[:-1] for word, rest in lines if word == "COPY" and "--from" not in rest]
    environment = dict(
        pair.split("=", 1) for word, rest in lines if word == "ENV" for pair in rest.split()
    )

    assert [word for word, _ in lines].count("FROM") == 2
    for name in (name for names in copied for name in names):
        assert (ROOT / name).exists(), name
    roots = {"protos", "engine_builder", "daemon", "client", "pyproject.toml"}
    assert roots <= {name for names in copied for name in names}
    users = [rest for word, rest in lines if word == "USER"]
    assert [int(user) > 0 for user in users] == [True]
    assert ["ENTRYPOINT", '["tsnd"]'] in lines
    assert ["EXPOSE", f"{Settings.model_fields['port'].default} 8002"] in lines
    assert environment["TSND_MODEL_REPOSITORY"] == "/models"
    extras = dict(rest.split("=") for word, rest in lines if word == "ARG")["EXTRAS"].split(",")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(extras) <= set(project["optional-dependencies"])


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_does_not_start_open_to_a_network_unless_told(dockerfile, monkeypatch):
    for word, rest in stages(dockerfile):
        for pair in rest.split() if word == "ENV" else ():
            if pair.startswith("TSND_"):
                monkeypatch.setenv(*pair.split("=", 1))

    with pytest.raises(SettingsError, match="nothing is encrypted"):
        load_settings([])
    monkeypatch.setenv("TSND_INSECURE", "true")
    assert load_settings([]).host == "0.0.0.0"


def test_the_constraints_of_images_are_the_lock_without_its_hashes():
    lock = (ROOT / "requirements" / "lock.txt").read_text()
    script = ["-e", "/--hash/d", "-e", r"s/ \\$//"]
    for dockerfile in DOCKERFILES:
        assert "sed -e '/--hash/d' -e 's/ \\\\$//' requirements/lock.txt" in dockerfile.read_text()
    kept = subprocess.run(["sed", *script], input=lock, capture_output=True, text=True, check=True)
    pins = [line for line in kept.stdout.splitlines() if line and not line.startswith("#")]

    assert len(pins) > 50
    for pin in pins:
        assert re.fullmatch(r"[\w.-]+(\[[\w,]+\])?==[^ ]+( ; .+)?", pin), pin


def test_the_pod_s_settings_are_good_and_its_files_are_mounted(tmp_path):
    settings_file = tmp_path / "tsnd.toml"
    settings_file.write_text(manifest("ConfigMap")["data"]["tsnd.toml"])
    settings = load_settings(["--config", str(settings_file)])
    mounts = [Path(mount["mountPath"]) for mount in container()["volumeMounts"]]
    named = [settings.model_repository]
    named += filter(None, (settings.tls_certificate, settings.tls_key, settings.tokens))
    named += [Path(container()["args"][1]), Path(container()["env"][0]["value"])]

    assert len(named) == 6
    for path in named:
        assert any(path.is_relative_to(mount) for mount in mounts), path
    assert {m["name"] for m in container()["volumeMounts"]} == {v["name"] for v in pod()["volumes"]}
    assert pod()["terminationGracePeriodSeconds"] > settings.drain_grace_s + 5
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    assert ports == {"grpc": settings.port, "metrics": settings.metrics_port}
    annotations = manifest("Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(settings.metrics_port)
    assert {p["targetPort"] for p in manifest("Service")["spec"]["ports"]} == set(ports)


def test_the_pod_runs_without_rights_and_gets_no_variables_of_services():
    assert pod()["securityContext"]["runAsNonRoot"]
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    # With them a Service named tsnd sets TSND_PORT=tcp://..., and the daemon would not start.
    assert pod()["enableServiceLinks"] is False


def test_labels_agree_so_that_the_service_finds_its_pods():
    labels = manifest("Deployment")["spec"]["template"]["metadata"]["labels"]

    assert manifest("Deployment")["spec"]["selector"]["matchLabels"] == labels
    assert manifest("Service")["spec"]["selector"] == labels
    assert manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels


def test_probes_ask_a_daemon_as_the_pod_has_it_over_tls_and_without_a_token(
    tiny_repository, tmp_path
):
    commands = {tuple(container()[probe]["exec"]["command"]) for probe in PROBES}
    authority, tokens = Authority(tmp_path / "authority"), tmp_path / "tokens.toml"
    certificate, key = authority.issue()
    tokens.write_text(to_table("one", new_token()))
    flags = ["--tls-certificate", certificate, "--tls-key", key, "--tokens", tokens]
    environment = {**os.environ, "TSND_CA": str(authority.certificate)}

    ((name, *rest, target),) = commands
    tsn = str(Path(sys.executable).with_name(name))
    with program("--model-repository", str(tiny_repository), *map(str, flags)) as daemon:
        port = daemon.target.rpartition(":")[2]
        asked = [
            subprocess.run(
                [tsn, *rest, f"localhost:{number}"],
                capture_output=True,
                check=False,
                env=environment,
            ).returncode
            for number in (port, "1")
        ]

    assert target == "localhost:8001"
    assert asked == [0, 1]
