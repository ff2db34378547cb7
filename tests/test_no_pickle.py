"""Nothing of ours reads a format that can carry code: not from clients, not from files."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path
    for root in ("daemon", "client", "engine_builder", "protos")
    for path in (ROOT / root).rglob("*.py")
)
# multiprocessing and concurrent.futures.process pickle whatever crosses their pipes.
MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
MODULES |= {"multiprocessing"}
CALLS = {"eval", "exec", "ProcessPoolExecutor", "unsafe_load", "full_load"}


def findings(source):
    """What a source has that can run what it reads."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom):
            if (node.module or "").partition(".")[0] in MODULES:
                yield node.module
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "id", None) or getattr(node.func, "attr", "")
            # model.eval() and the like are methods, which are not the builtins.
            if name in CALLS and (isinstance(node.func, ast.Name) or name not in {"eval", "exec"}):
                yield name
            for keyword in node.keywords:
                is_false = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                if keyword.arg == "allow_pickle" and not is_false:
                    yield "allow_pickle"


def test_no_source_of_ours_reads_what_could_run():
    found = {str(path.relative_to(ROOT)): list(findings(path.read_text())) for path in SOURCES}

    assert len(SOURCES) > 100
    assert {name: what for name, what in found.items() if what} == {}


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("import pickle", "pickle"),
        ("from multiprocessing.pool import Pool", "multiprocessing.pool"),
        ("numpy.load(path, allow_pickle=True)", "allow_pickle"),
        ("eval(text)", "eval"),
        ("futures.ProcessPoolExecutor()", "ProcessPoolExecutor"),
    ],
)
def test_it_would_be_found(source, what):
    assert list(findings(source)) == [what]
    assert list(findings("numpy.load(path, allow_pickle=False); model.eval()")) == []
