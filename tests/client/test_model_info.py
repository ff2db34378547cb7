import pytest

from tests.client.toy_daemon import MANIFESTS, description
from tsnd.v1 import model_pb2, snippets_pb2
from tsnd_client import Modality, errors
from tsnd_client.model_info import to_model_info, to_model_request, to_model_summaries, to_pairs


def test_a_model_description_becomes_model_info(rgb_model, flow_model):
    flow, rgb = (to_model_info(description(entry), address=entry.name) for entry in MANIFESTS)

    assert (flow, rgb) == (flow_model, rgb_model)


def test_a_model_of_a_pair_keeps_its_own_name_and_the_pairs_address():
    info = to_model_info(description(MANIFESTS[1]), address="toy")

    assert (info.name, info.address) == ("toy-rgb", "toy")


def test_a_version_that_was_asked_for_is_pinned():
    assert (
        to_model_info(description(MANIFESTS[1]), address="toy-rgb", version=3).pinned_version == 3
    )


def test_a_description_of_another_version_than_asked_for_is_a_bad_reply():
    with pytest.raises(errors.BadReply, match=r"version 2 of model 'toy-rgb'.*version 3"):
        to_model_info(description(MANIFESTS[1]), address="toy-rgb", version=2)


def test_a_model_of_unknown_modality_is_a_bad_reply():
    response = snippets_pb2.GetModelResponse(manifest=model_pb2.ModelManifest(name="new"))

    with pytest.raises(errors.BadReply, match=r"'new' has modality 0.*upgrade"):
        to_model_info(response, address="new")


def test_what_a_daemon_leaves_out_has_a_meaning():
    info = to_model_info(
        snippets_pb2.GetModelResponse(manifest=MANIFESTS[1], max_batch_size=8), address="toy-rgb"
    )

    assert (info.max_group_size, info.backend, info.precision) == (1, "", "")


def test_an_output_of_an_element_type_from_the_future_has_none():
    entry = model_pb2.ModelManifest()
    entry.CopyFrom(MANIFESTS[1])
    entry.outputs[0].data_type = 99  # type: ignore[assignment] # unknown to this client

    assert to_model_info(description(entry), address="toy-rgb").outputs[0].data_type == ""


def test_snippet_shape_follows_the_modality(rgb_model, flow_model):
    assert rgb_model.snippet_shape == (6, 8, 3)
    assert flow_model.snippet_shape == (4, 6, 8)


@pytest.mark.parametrize(
    ("modality", "number"),
    [
        (None, model_pb2.MODALITY_UNSPECIFIED),
        (Modality.RGB, model_pb2.MODALITY_RGB),
        (Modality.FLOW, model_pb2.MODALITY_FLOW),
    ],
)
def test_a_model_is_asked_for_by_name_modality_and_version(modality, number):
    request = to_model_request("toy", modality, 2)

    assert request == snippets_pb2.GetModelRequest(name="toy", modality=number, version=2)


def test_each_version_of_a_model_has_its_line():
    line = snippets_pb2.ModelSummary(name="m", version=1, modality=model_pb2.MODALITY_RGB)
    newer = snippets_pb2.ModelSummary(name="m", version=2, modality=model_pb2.MODALITY_RGB)

    summaries = to_model_summaries(snippets_pb2.ListModelsResponse(models=[line, newer]))

    assert [(summary.name, summary.version) for summary in summaries] == [("m", 1), ("m", 2)]


def test_pairs_are_read():
    wire = snippets_pb2.Pair(name="toy", rgb_model="r", flow_model="f")

    (pair,) = to_pairs(snippets_pb2.ListModelsResponse(pairs=[wire]))

    assert (pair.name, pair.rgb_model, pair.flow_model) == ("toy", "r", "f")
