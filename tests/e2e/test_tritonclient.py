"""Triton's own client, unchanged, against a daemon; the cases are in tests/tritonclient.

The client's messages and ours have the same names, and cannot be in one process: the cases
run in a pytest of their own, and here is one test for each, with what came of it.
"""

import ast
import importlib.util
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.processes import tsnd

ROOT = Path(__file__).parents[2]
CASES = ROOT / "tests" / "tritonclient" / "calls.py"
CHILD_S = 300

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tritonclient") is None,
    reason="Triton's client is not installed: make tritonclient",
)


def names_of_cases():
    functions = ast.parse(CASES.read_text()).body
    return [
        f.name for f in functions if isinstance(f, ast.FunctionDef) and f.name.startswith("test_")
    ]


@pytest.fixture(scope="module")
def outcomes(tiny_repository, tmp_path_factory):
    """What came of each case: its failures, by name."""
    report = tmp_path_factory.mktemp("tritonclient") / "report.xml"
    options = ["--model-control", "explicit", "--preferred-batch-sizes", "2,4"]
    options += ["--instances", "1", "--compute-threads", "1", "--precision", "fp32"]
    options += ["--backend", "onnxruntime"]
    with tsnd("--model-repository", str(tiny_repository), *options) as (_, line):
        facts = dict(word.split("=", 1) for word in line.split()[2:])
        run_cases(facts["grpc"], report)
    found: dict[str, list[str]] = {}
    for case in ET.parse(report).iter("testcase"):
        failures = found.setdefault(case.attrib["name"].partition("[")[0], [])
        for kind in ("failure", "error", "skipped"):
            failures += [f"{case.attrib['name']}\n{e.text}" for e in case.findall(kind)]
    return found


def run_cases(target, report):
    # The client's generated code warns of our newer protobuf; it is not ours to change.
    command = [sys.executable, "-m", "pytest", "--noconftest", "-o", "addopts="]
    command += ["-o", "filterwarnings=", "-p", "no:cacheprovider", "--import-mode=importlib"]
    subprocess.run(
        [*command, f"--junitxml={report}", str(CASES)],
        cwd=ROOT,
        env={**os.environ, "TSND_TEST_TARGET": target},
        stdout=subprocess.DEVNULL,
        timeout=CHILD_S,
        check=False,
    )


@pytest.mark.parametrize("name", names_of_cases())
def test_tritons_client(outcomes, name):
    assert name in outcomes, "the case did not run"
    assert not outcomes[name], "\n".join(outcomes[name])
