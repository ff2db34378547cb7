"""The scrape configuration, the rules and the dashboard, on a real Prometheus."""

import asyncio
import json
import re
import subprocess

import pytest
import yaml
from prometheus_client import CollectorRegistry

from tests.daemons import running_daemon
from tests.deploy.prometheus import DEPLOY, ROOT, RULES, needs_prometheus, running_prometheus
from tests.streams import endless, run_stream, wait_for_samples
from tsnd_daemon.gpu_metrics import _GpuCollector
from tsnd_daemon.metrics import Metrics

DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "tsnd.json").read_text())
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
SETTLED_S = 30.0

NOT_HERE = re.compile("tsnd_gpu|tsnd_rejected")
"""What an undisturbed daemon without a GPU has no samples of."""


def promtool(*arguments):
    return subprocess.run(
        ["promtool", *arguments], cwd=DEPLOY, capture_output=True, text=True, check=False
    )


def rule_expressions():
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def dashboard_expressions():
    """As Grafana sends them, with everything chosen."""
    variables = {"$__rate_interval": "1m", "$instance": ".*", "$model": ".*"}
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in variables.items():
                expression = expression.replace(name, value)
            yield expression


def documented_expressions():
    section = OPERATIONS.partition("\n## Metrics\n")[2].partition("\n## ")[0]
    rows = section.partition("| question | PromQL |")[2].partition("\n###")[0]
    yield from re.findall(r"\| `(.+)` \|$", rows, re.MULTILINE)
    yield from re.findall(r"```promql\n(.+?)\n```", section, re.DOTALL)


def metric_names():
    """Everything that the daemon exposes, with the suffixes of histograms."""
    registry = CollectorRegistry()
    Metrics(registry)
    for family in [*registry.collect(), *_GpuCollector().describe()]:
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
        for suffix in suffixes.get(family.type, [""]):
            yield family.name + suffix


@needs_prometheus
def test_the_configuration_and_the_rules_are_valid():
    checked = promtool("check", "config", "prometheus.yml")

    assert checked.returncode == 0, checked.stderr


@needs_prometheus
def test_each_alert_is_raised_when_it_should_be_and_only_then():
    tested = promtool("test", "rules", "tsnd.test.yml")

    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_every_alert_has_a_test_and_says_what_to_do():
    groups = yaml.safe_load(RULES.read_text())["groups"]
    alerts = {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}
    tests = yaml.safe_load((DEPLOY / "tsnd.test.yml").read_text())["tests"]
    raised = {
        case["alertname"]
        for test in tests
        for case in test.get("alert_rule_test", [])
        if case["exp_alerts"]
    }

    assert raised == alerts.keys()
    assert all({"summary", "action"} <= alert["annotations"].keys() for alert in alerts.values())


@pytest.mark.parametrize(
    "expression",
    [*rule_expressions(), *dashboard_expressions(), *documented_expressions()],
)
def test_what_is_asked_for_exists(expression):
    asked = set(re.findall(r"(?<![\w:])(?:tsnd|process)_\w+", expression))
    own = set(metric_names())

    assert {name for name in asked if name.startswith("tsnd_")} <= own


def test_panels_have_titles_of_their_own_and_places_that_do_not_overlap():
    panels = DASHBOARD["panels"]
    places = {
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in panels
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    }

    assert len({panel["title"] for panel in panels}) == len(panels)
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len(places) == sum(p["gridPos"]["w"] * p["gridPos"]["h"] for p in panels)


def test_every_metric_has_a_panel():
    shown = set(re.findall(r"tsnd_\w+", " ".join(dashboard_expressions())))
    families = {re.sub("_(bucket|sum|count)$", "", name) for name in metric_names()}
    families = {name for name in families if name.startswith("tsnd_")}

    assert {re.sub("_(bucket|sum|count)$", "", name) for name in shown} == families


@needs_prometheus
async def test_prometheus_scrapes_a_daemon_at_work_and_answers_every_query(
    tiny_repository, tmp_path
):
    over = asyncio.Event()
    async with running_daemon(tiny_repository) as daemon:
        target = daemon.endpoints.metrics.removeprefix("http://").removesuffix("/metrics")
        async with running_prometheus(tmp_path, target) as prometheus:
            streaming = asyncio.create_task(run_stream(daemon.endpoints.grpc, endless(0, over)))
            try:
                await wait_for_rates(prometheus)
                asked = [*dashboard_expressions(), *documented_expressions()]
                empty = {e for e in asked if not await prometheus.query(e)}
            finally:
                over.set()
                outcome = await streaming
            rules = await prometheus.rules()
            count = len(outcome.scored)
            await wait_for_samples(
                daemon, {("tsnd_end_to_end_seconds_count", "tiny_rgb", "1"): count}
            )
            await wait_for_value(prometheus, 'tsnd_inferences_total{model="tiny_rgb"}', count)
            stages = await prometheus.value("sum(tsnd_stage_seconds_sum)")
            whole = await prometheus.value("sum(tsnd_end_to_end_seconds_sum)")

    assert outcome.end is None
    assert not {expression for expression in empty if not NOT_HERE.search(expression)}
    assert {rule["health"] for rule in rules} == {"ok"}
    assert [rule["name"] for rule in rules if rule.get("state") == "firing"] == []
    assert stages == pytest.approx(whole, rel=1e-6)


async def wait_for_rates(prometheus):
    """Wait until what is computed over some scrapes, by rules of rules, is there."""
    async with asyncio.timeout(SETTLED_S):
        for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]:
            if NOT_HERE.search(rule["expr"]):
                continue
            while not await prometheus.query(f"{rule['record']} > 0"):
                pass


async def wait_for_value(prometheus, expression, value):
    found = None
    async with asyncio.timeout(SETTLED_S):
        while found != value:
            series = await prometheus.query(expression)
            found = float(series[0]["value"][1]) if series else None
