"""Every name of TensorRT that our code uses exists in the oldest and newest version we support.

The names are read out of the source: what hangs on `trt`, on a parameter or variable that
is annotated with a type of TensorRT or made by one, and methods that override its own.
"""

import ast
import functools
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stub_tensorrt import missing_names, wheel_of

ROOT = Path(__file__).parents[3]
SOURCES = sorted((ROOT / "engine_builder" / "tsnd_builder" / "plans").glob("*.py"))
MODULES = ("trt", "tensorrt")
BY_POLYGRAPHY = (
    "Builder.build_serialized_network",
    "Builder.create_builder_config",
    "Builder.create_optimization_profile",
    "BuilderFlag.REFIT",
    "BuilderFlag.STRIP_PLAN",
    "BuilderFlag.VERSION_COMPATIBLE",
    "IBuilderConfig.add_optimization_profile",
    "IBuilderConfig.builder_optimization_level",
    "IBuilderConfig.create_timing_cache",
    "IBuilderConfig.hardware_compatibility_level",
    "IBuilderConfig.profiling_verbosity",
    "IBuilderConfig.progress_monitor",
    "IBuilderConfig.set_memory_pool_limit",
    "IBuilderConfig.set_timing_cache",
    "ICudaEngine.create_execution_context",
    "ICudaEngine.get_tensor_dtype",
    "ICudaEngine.get_tensor_format",
    "ICudaEngine.get_tensor_mode",
    "ICudaEngine.get_tensor_name",
    "ICudaEngine.is_shape_inference_io",
    "IExecutionContext.active_optimization_profile",
    "IExecutionContext.execute_async_v3",
    "IExecutionContext.get_tensor_address",
    "IExecutionContext.get_tensor_shape",
    "IExecutionContext.set_input_shape",
    "IExecutionContext.set_optimization_profile_async",
    "IExecutionContext.set_output_allocator",
    "IExecutionContext.set_tensor_address",
    "INetworkDefinition.num_inputs",
    "IOptimizationProfile.set_shape",
    "IOutputAllocator",
    "ITensor.is_shape_tensor",
    "ProfilingVerbosity.DETAILED",
    "Runtime.engine_host_code_allowed",
    "TensorFormat.LINEAR",
    "TensorIOMode.INPUT",
    "init_libnvinfer_plugins",
)
"""What Polygraphy calls when it builds with our options and when it runs a plan."""


def names_in(source: str) -> set[str]:
    """Return the names of TensorRT that Python code uses."""
    tree = ast.parse(source)
    names = {name for node in ast.walk(tree) if (name := _attribute(node))}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.update(_quoted(node.value))
        elif isinstance(node, ast.ClassDef):
            names.update(_overrides(node))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.update(_members(node))
    return names


def _attribute(node: ast.AST) -> str | None:
    """Return `A.b` for `trt.A.b`, `anything.trt.A.b` and `tensorrt.A.b`."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        if node.attr in MODULES:
            return ".".join(reversed(parts)) or None
        parts.append(node.attr)
        node = node.value
    is_module = isinstance(node, ast.Name) and node.id in MODULES
    return ".".join(reversed(parts)) or None if is_module else None


def _quoted(text: str) -> Iterator[str]:
    """Find types in quoted annotations; prose has spaces around the dots' words."""
    if re.fullmatch(r"[\w.| ]+", text):
        yield from re.findall(r"\btensorrt\.([A-Z][\w.]*)", text)


def _overrides(node: ast.ClassDef) -> Iterator[str]:
    for base in filter(None, map(_attribute, node.bases)):
        for item in node.body:
            if isinstance(item, ast.FunctionDef) and not item.name.startswith("_"):
                yield f"{base}.{item.name}"


def _members(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    """Find `x.member` where x is known to be of a type of TensorRT."""
    types = dict(_typed_variables(function))
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute):
            made = types.get(node.value.id) if isinstance(node.value, ast.Name) else None
            yield from [f"{made}.{node.attr}"] if made else []


def _typed_variables(function: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(function):
        if isinstance(node, ast.arg) and node.annotation:
            yield from ((node.arg, name) for name in _types(node.annotation))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield from ((node.target.id, name) for name in _types(node.annotation))
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            made = _attribute(node.value.func)
            yield from ((t.id, made) for t in node.targets if made and isinstance(t, ast.Name))


def _types(annotation: ast.expr) -> set[str]:
    if isinstance(annotation, ast.Constant):
        annotation = ast.parse(str(annotation.value), mode="eval").body
    found = {name for node in ast.walk(annotation) if (name := _attribute(node))}
    return {name for name in found if not any(o.startswith(f"{name}.") for o in found)}


@functools.cache
def used_names() -> frozenset[str]:
    sources = [path.read_text(encoding="utf-8") for path in SOURCES if path.exists()]
    return frozenset(BY_POLYGRAPHY).union(*map(names_in, sources))


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("trt.NoSuchName", {"NoSuchName"}),
        ("library.trt.BuilderFlag.X", {"BuilderFlag", "BuilderFlag.X"}),
        ("def f(a: 'tensorrt.Builder | None'): a.b", {"Builder", "Builder.b"}),
        ("def f(a: tensorrt.Builder): a.b.c", {"Builder", "Builder.b"}),
        ("def f():\n  a: tensorrt.Runtime = g()\n  a.b", {"Runtime", "Runtime.b"}),
        ("def f():\n  a = trt.Runtime(b)\n  a.c", {"Runtime", "Runtime.c"}),
        ("class A(trt.ILogger):\n  def log(self): ...", {"ILogger", "ILogger.log"}),
        ("import tensorrt\n'tensorrt. Prose'\nother.Name", set()),
    ],
)
def test_names_are_found_in_source(source, names):
    assert names_in(source) == names


def test_the_names_of_the_builder_are_found():
    files = {path.name for path in SOURCES if path.exists() and names_in(path.read_text())}
    assert files >= {"build.py", "config.py", "library.py", "parse.py", "run.py", "tensors.py"}
    assert {
        "Builder.create_network",
        "BuilderFlag.TF32",
        "ILogger.log",
        "IProgressMonitor.step_complete",
        "ICudaEngine.num_io_tensors",
        "ITensor.dtype",
        "OnnxParser.get_error",
        "ParserError.node_operator",
        "Runtime.deserialize_cuda_engine",
    } <= used_names()


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc for the empty libraries")
@pytest.mark.parametrize("major", [10, 11])
def test_every_name_exists_in_tensorrt(major, tmp_path):
    wheel = wheel_of(major)
    if wheel is None:
        pytest.skip(f"no bindings of TensorRT {major} for this Python: make tensorrt-bindings")

    version, missing = missing_names(wheel, {*used_names(), "NoSuchName", "Builder.none"}, tmp_path)

    assert version.startswith(f"{major}.")
    assert missing == ["Builder.none", "NoSuchName"]


def test_every_name_exists_in_tensorrt_rtx():
    rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")

    for name in used_names():
        functools.reduce(getattr, name.split("."), rtx)
