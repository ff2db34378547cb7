from dataclasses import replace

import numpy as np
import pytest

from tests.executions import run
from tsnd_daemon.errors import PackageError
from tsnd_daemon.executors.onnxruntime import OnnxRuntimeExecutor
from tsnd_daemon.executors.tuning import (
    CpuSetup,
    Question,
    first_worth_it,
    instance_setups,
    rates,
    snippets_in_turn,
    tune,
)
from tsnd_daemon.settings import ExecutionOptions

OPTIONS = ExecutionOptions("onnxruntime", "auto", 8)
ONE, TWO, FOUR = CpuSetup(1, 4), CpuSetup(2, 3), CpuSetup(4, 1)


def test_two_instances_are_preferred_and_all_share_the_threads():
    assert instance_setups(OPTIONS, 4) == [TWO, ONE, FOUR]
    assert instance_setups(OPTIONS, 1) == [CpuSetup(1, 1)]
    assert instance_setups(OPTIONS, 64)[-1] == CpuSetup(8, 57)


def test_what_is_set_is_not_tried():
    assert instance_setups(replace(OPTIONS, instances=3), 4) == [CpuSetup(3, 2)]
    assert instance_setups(replace(OPTIONS, instances=8), 4) == [CpuSetup(8, 1)]
    assert instance_setups(replace(OPTIONS, threads=2), 64) == [CpuSetup(2, 1), CpuSetup(1, 2)]
    assert instance_setups(replace(OPTIONS, threads=2, instances=1), 64) == [CpuSetup(1, 2)]


@pytest.mark.parametrize(
    ("snippet_s", "snippets"), [(1e-4, 8), (0.033, 6), (0.3, 1), (0.7, 1), (0.9, 0)]
)
def test_a_turn_has_as_many_snippets_as_there_is_time_for(snippet_s, snippets):
    question = Question(budget_s=0.8, turns=2, gain=0.1)

    assert snippets_in_turn(question, 2, snippet_s=snippet_s, max_batch_size=8) == snippets


class Stopwatch:
    """A clock that each measurement moves on."""

    def __init__(self, seconds):
        self.now = 0.0
        self.turns = []
        self._seconds = seconds

    def measure(self, setup):
        self.turns.append(setup)
        self.now += self._seconds
        return float(len(self.turns))

    def clock(self):
        return self.now


def test_setups_are_measured_in_turns_and_their_best_counts():
    watch = Stopwatch(seconds=0.01)

    found = rates([ONE, TWO], watch.measure, budget_s=1.0, clock=watch.clock)

    assert watch.turns == [ONE, TWO] * 3
    assert found == {ONE: 5.0, TWO: 6.0}


def test_every_setup_has_one_turn_when_time_is_short():
    watch = Stopwatch(seconds=1.0)

    found = rates([ONE, TWO, FOUR], watch.measure, budget_s=0.5, clock=watch.clock)

    assert found == {ONE: 1.0, TWO: 2.0, FOUR: 3.0}


def test_later_setups_must_be_worth_it():
    assert first_worth_it({ONE: 100.0, TWO: 109.0}, gain=0.1) == ONE
    assert first_worth_it({ONE: 100.0, TWO: 112.0, FOUR: 120.0}, gain=0.1) == TWO
    assert first_worth_it({ONE: 100.0, TWO: 150.0, FOUR: 120.0}, gain=0.1) == TWO


@pytest.mark.parametrize("instances", [0, 1, 3])
def test_a_tuned_session_runs_the_model(model, snippets_for, instances):
    options = replace(OPTIONS, instances=instances)

    session, setup = tune(model, options, cpus=2)
    results = run(OnnxRuntimeExecutor(model, session, max_batch_size=8), snippets_for(8))

    assert setup.instances == (instances or setup.instances)
    assert setup.instances <= 3
    assert all(np.isfinite(rows).all() for rows in results.values())


def test_a_graph_that_does_not_load_ends_the_tuning(model, tmp_path):
    broken = tmp_path / "model.onnx"
    broken.write_bytes(b"\x08\x07garbage")

    with pytest.raises(PackageError, match="cannot load"):
        tune(replace(model, path=broken), OPTIONS, cpus=2)
