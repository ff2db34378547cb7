import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from tsnd_daemon import errors
from tsnd_daemon.gpu_metrics import _GpuCollector
from tsnd_daemon.metrics import Metrics, reason_of

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
LABELS = {"model": "m", "version": "1"}


def request_errors(base=errors.RequestError):
    """The class and all below it."""
    yield base
    for derived in base.__subclasses__():
        yield from request_errors(derived)


def all_names():
    """The metrics as the exposition names them, with those of machines with GPUs."""
    registry = CollectorRegistry()
    Metrics(registry)
    families = [*registry.collect(), *_GpuCollector().describe()]
    return {
        family.name + ("_total" if family.type == "counter" else "")
        for family in families
        if family.name.startswith("tsnd_")
    }


def test_the_documentation_lists_every_metric_and_no_other():
    section = OPERATIONS.read_text().partition("\n## Metrics\n")[2].partition("\n## ")[0]
    rows = "\n".join(line.split(" | ")[0] for line in section.splitlines() if "|" in line)

    assert set(re.findall(r"tsnd_\w+", rows)) == all_names()


def test_reasons_are_few_words_one_for_each_error():
    reasons = {reason_of(error) for error in request_errors()}

    assert {"queue_full", "deadline_expired", "invalid_snippet"} <= reasons
    assert all(re.fullmatch("[a-z]+(_[a-z]+)*", reason) for reason in reasons)


def test_a_rejection_is_counted_by_code_and_reason():
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    with pytest.raises(errors.ModelNotFound), metrics.count_rejected():
        raise errors.ModelNotFound("no such model")

    labels = {"code": "NOT_FOUND", "reason": "model_not_found"}
    assert registry.get_sample_value("tsnd_rejected_snippets_total", labels) == 1


def test_loads_are_counted_by_their_result():
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    with metrics.time_load():
        pass
    with pytest.raises(errors.PackageError), metrics.time_load():
        raise errors.PackageError("damaged")

    for result in ("loaded", "failed"):
        assert registry.get_sample_value("tsnd_model_loads_total", {"result": result}) == 1
    assert registry.get_sample_value("tsnd_model_load_seconds_count") == 1


def test_what_runs_a_model_is_replaced_when_it_is_loaded_anew():
    registry = CollectorRegistry()
    model = Metrics(registry).for_model("m", 1)
    model.note_served(backend="onnxruntime", precision="fp32", executors=1)
    model.note_served(backend="openvino", precision="int8", executors=2)

    def info(backend, precision):
        labels = {**LABELS, "backend": backend, "precision": precision}
        return registry.get_sample_value("tsnd_model_info", labels)

    assert info("onnxruntime", "fp32") is None
    assert info("openvino", "int8") == 1
    assert registry.get_sample_value("tsnd_executors", LABELS) == 2


def test_a_model_that_is_removed_leaves_no_series():
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    before = {sample for family in registry.collect() for sample in series(family)}
    model = metrics.for_model("m", 1)
    model.note_served(backend="onnxruntime", precision="fp32", executors=1)
    assert {s for f in registry.collect() for s in series(f)} > before

    model.remove()

    assert {sample for family in registry.collect() for sample in series(family)} == before


def series(family):
    return {
        (sample.name, *sorted(sample.labels.items()))
        for sample in family.samples
        if not sample.name.endswith("_created")
    }
