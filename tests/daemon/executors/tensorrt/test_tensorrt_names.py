"""Every name of TensorRT that the daemon uses exists in all versions that it runs with."""

import functools
import shutil
from pathlib import Path

import pytest

from tests.engine_builder.plans.test_tensorrt_names import names_in
from tests.stub_tensorrt import missing_names, wheel_of
from tsnd_daemon.executors.tensorrt import engine

PACKAGE = Path(engine.__file__).parent
PROTOCOLS = {engine.Engine: "ICudaEngine", engine.ExecutionContext: "IExecutionContext"}
"""Ours, and the class of TensorRT that is used through each."""

VALUES = ("TensorIOMode.INPUT", "TensorIOMode.OUTPUT", "DataType.FLOAT", "DataType.UINT8")
"""Members of enums that the executor knows by name."""


def used_names():
    sources = [path.read_text(encoding="utf-8") for path in sorted(PACKAGE.glob("*.py"))]
    members = {
        f"{name}.{member}"
        for protocol, name in PROTOCOLS.items()
        for member in vars(protocol)
        if not member.startswith("_")
    }
    return {*VALUES, *members}.union(*map(names_in, sources))


def test_the_names_of_the_daemon_are_found():
    assert used_names() >= {
        "ICudaEngine.create_execution_context",
        "IExecutionContext.execute_async_v3",
        "ILogger.log",
        "Runtime.deserialize_cuda_engine",
        "Runtime.engine_host_code_allowed",
    }


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc for the empty libraries")
@pytest.mark.parametrize("major", [10, 11])
def test_every_name_exists_in_tensorrt(major, tmp_path):
    wheel = wheel_of(major)
    if wheel is None:
        pytest.skip(f"no bindings of TensorRT {major} for this Python: make tensorrt-bindings")

    version, missing = missing_names(wheel, {*used_names(), "ICudaEngine.none"}, tmp_path)

    assert version.startswith(f"{major}.")
    assert missing == ["ICudaEngine.none"]


def test_every_name_exists_in_tensorrt_rtx():
    rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed: make engines")

    for name in used_names():
        functools.reduce(getattr, name.split("."), rtx)
