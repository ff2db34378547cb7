import pytest

from tsnd.v1 import model_pb2 as pb
from tsnd_daemon.executors.tensorrt.checks import misfit

GRAPH = "a" * 64


def plan(**changes):
    return pb.Plan(
        **{
            "backend": "tensorrt",
            "backend_version": "10.13.3",
            "compute_capability": "8.9",
            "hardware_compatibility": "none",
            "source_sha256": GRAPH,
            **changes,
        }
    )


def reason(built, *, version="10.13.3", compute_capability="8.9", graphs=(GRAPH,)):
    return misfit(built, version=version, compute_capability=compute_capability, graphs=graphs)


def test_a_plan_runs_where_it_was_built():
    assert reason(plan()) is None


@pytest.mark.parametrize(
    ("changes", "version", "runs"),
    [
        ({}, "10.14.1", False),
        ({"version_compatible": True}, "10.14.1", True),
        ({"version_compatible": True}, "11.4.0", True),
        ({"version_compatible": True}, "10.2.0", False),
    ],
)
def test_only_version_compatible_plans_run_with_later_versions(changes, version, runs):
    found = reason(plan(**changes), version=version)

    assert found is None if runs else "tsn-build plan again, or install that version" in found


@pytest.mark.parametrize(
    ("changes", "compute_capability", "runs"),
    [
        ({}, "9.0", False),
        ({"hardware_compatibility": "same-compute-capability"}, "8.9", True),
        ({"hardware_compatibility": "same-compute-capability"}, "9.0", False),
        ({"hardware_compatibility": "ampere-plus"}, "12.0", True),
        ({"hardware_compatibility": "ampere-plus"}, "7.5", False),
        ({"compute_capability": ""}, "10.0", True),
        ({"compute_capability": ""}, "7.5", False),
        ({"compute_capability": "8.6,8.9"}, "8.6", True),
        ({"compute_capability": "8.6,8.9"}, "9.0", False),
    ],
)
def test_plans_run_on_the_gpus_they_were_built_for(changes, compute_capability, runs):
    found = reason(plan(**changes), compute_capability=compute_capability)

    assert found is None if runs else "run tsn-build plan on this machine" in found


def test_a_plan_without_weights_is_refused_with_the_remedy():
    assert "build it without --weight-stripped" in reason(plan(weight_stripped=True))


def test_a_plan_of_a_graph_that_was_replaced_is_refused():
    assert "has been replaced since; run tsn-build plan again" in reason(plan(), graphs=["b" * 64])
