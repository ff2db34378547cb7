import pytest
from google.protobuf import text_format

from tsnd.caffe.net_pb2 import NetParameter
from tsnd_builder.caffe.phase import TRAINING_ONLY, layers_under_test
from tsnd_builder.errors import PrototxtError


def names_under_test(text):
    return [layer.name for layer in layers_under_test(text_format.Parse(text, NetParameter()))]


def is_in(rules, state=""):
    return names_under_test(f"{state} layer {{ name: 'a' {rules} }}") == ["a"]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("", True),
        ("include { }", True),
        ("include { phase: TEST }", True),
        ("include { phase: TRAIN }", False),
        ("include { phase: TRAIN } include { phase: TEST }", True),
        ("exclude { }", False),
        ("exclude { phase: TEST }", False),
        ("exclude { phase: TRAIN }", True),
        ("exclude { phase: TRAIN } exclude { phase: TEST }", False),
        ("phase: TRAIN", True),
    ],
)
def test_rules_decide_which_layers_are_in_the_test_net(rules, expected):
    assert is_in(rules) is expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("min_level: 0", True),
        ("min_level: 1", False),
        ("max_level: 0", True),
        ("max_level: -1", False),
        ("min_level: 0 max_level: 0", True),
        ("phase: TEST min_level: 1", False),
    ],
)
def test_levels_are_compared_with_level_0(rule, expected):
    assert is_in(f"include {{ {rule} }}") is expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("stage: 'deploy'", True),
        ("stage: 'deploy' stage: 'fast'", True),
        ("stage: 'deploy' stage: 'other'", False),
        ("not_stage: 'other'", True),
        ("not_stage: 'fast'", False),
        ("min_level: 3 max_level: 3", True),
        ("max_level: 2", False),
    ],
)
def test_stages_and_level_come_from_the_files_own_state(rule, expected):
    state = "state { level: 3 stage: 'deploy' stage: 'fast' }"

    assert is_in(f"include {{ {rule} }}", state) is expected


def test_a_stage_is_not_met_without_a_state():
    assert not is_in("include { stage: 'deploy' }")
    assert is_in("include { not_stage: 'deploy' }")


def test_the_files_own_phase_does_not_matter():
    assert is_in("include { phase: TEST }", "state { phase: TRAIN }")


def test_the_order_of_the_layers_is_kept():
    text = "layer { name: 'a' } layer { name: 'b' exclude { } } layer { name: 'c' }"

    assert names_under_test(text) == ["a", "c"]


def test_both_kinds_of_rules_in_one_layer_are_refused():
    with pytest.raises(PrototxtError, match="'a' has both include and exclude rules"):
        is_in("include { } exclude { }")


@pytest.mark.parametrize("kind", sorted(TRAINING_ONLY))
@pytest.mark.parametrize("rules", ["", "include { phase: TEST }", "exclude { phase: TRAIN }"])
def test_layers_that_need_training_data_or_labels_are_left_out(kind, rules):
    text = f"layer {{ name: 'a' type: '{kind}' {rules} }} layer {{ name: 'b' type: 'ReLU' }}"

    assert names_under_test(text) == ["b"]
