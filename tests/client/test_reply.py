import numpy as np
import pytest

from tests.client.toy_daemon import answer
from tsnd.v1 import model_pb2, snippets_pb2
from tsnd_client import ClassScore, Reply, errors, messages
from tsnd_client.reply import EVERYTHING, to_reply_options
from tsnd_client.urgency import Urgency

BLACK = np.zeros((6, 8, 3), np.uint8)


def reply_to(model, reply, **changes):
    request = messages.new_request(model, Urgency(), reply)
    messages.add_snippet(request, model, "s", BLACK)
    response = answer(request.snippets[0], **changes)
    return messages.from_response(model, "s", response, reply)


def test_options_say_what_results_hold():
    options = to_reply_options(Reply(outputs=("features",), top_k=5, half=True))

    assert options == snippets_pb2.ReplyOptions(
        outputs=["features"], top_k=5, data_type=model_pb2.DATA_TYPE_FLOAT16
    )


def test_whoever_wants_everything_sends_no_options(rgb_model):
    assert not messages.new_request(rgb_model, Urgency(), EVERYTHING).HasField("reply")
    assert messages.new_request(rgb_model, Urgency(), Reply(top_k=1)).reply.top_k == 1


@pytest.mark.parametrize(
    ("reply", "has"),
    [(Reply(), True), (Reply(outputs=("scores",)), True), (Reply(top_k=1), False)],
)
def test_results_have_all_outputs_unless_some_or_the_best_classes_are_named(reply, has):
    assert reply.has("scores") is has


def test_classes_come_with_label_and_probability(rgb_model):
    top = [snippets_pb2.ClassScore(index=2, label="red", score=1.5, probability=0.5)]

    scores = reply_to(rgb_model, Reply(top_k=1), top=top, outputs=[])

    assert scores.top == (ClassScore(2, "red", 1.5, 0.5),)
    assert scores.scores.shape == scores.features.shape == (0,)


@pytest.mark.parametrize(
    ("reply", "changes", "reason"),
    [
        (Reply(outputs=("head",)), {}, "lacks head"),
        (Reply(outputs=("scores",)), {"outputs": []}, "lacks scores"),
        (Reply(), {"outputs": []}, "lacks features, scores"),
        (Reply(top_k=2), {}, "names 0 classes, asked for 2"),
    ],
)
def test_a_reply_that_is_not_what_was_asked_for_is_a_bad_one(rgb_model, reply, changes, reason):
    with pytest.raises(errors.BadReply, match=reason):
        reply_to(rgb_model, reply, **changes)


@pytest.mark.parametrize("wrong", [{"outputs": "scores"}, {"top_k": -1}])
def test_slips_are_refused_at_once(wrong):
    with pytest.raises(ValueError, match="must be"):
        Reply(**wrong)
