import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsnd.v1 import model_pb2, snippets_pb2
from tsnd_daemon.snippets import Execution, Scores
from tsnd_daemon.wire.responses import ScoreWriter

OUTPUTS = {"scores": 400, "features": 1024, "ssn": 3}
VALUES = {
    name: np.random.default_rng(length).normal(size=(8, length)).astype(np.float32)
    for name, length in OUTPUTS.items()
}


def manifest(name="kinetics", version=1):
    specs = [model_pb2.TensorSpec(name=n, shape=[length]) for n, length in OUTPUTS.items()]
    return model_pb2.ModelManifest(name=name, version=version, outputs=specs)


def by_protobuf(of, snippet_id, scores):
    return snippets_pb2.ScoreResponse(
        snippet_id=snippet_id,
        model=of.name,
        version=of.version,
        outputs=[
            snippets_pb2.Tensor(
                name=name,
                data_type=model_pb2.DATA_TYPE_FLOAT32,
                shape=values.shape,
                data=values.astype("<f4").tobytes(),
            )
            for name, values in scores.outputs.items()
        ],
        timing=snippets_pb2.Timing(
            queue_ns=scores.queue_ns, compute_ns=scores.compute_ns, batch_size=scores.batch_size
        ),
    )


def executed(outputs, start_ns, end_ns):
    return Execution(outputs, start_ns, end_ns, begun_ns=start_ns, ready_ns=start_ns)


@given(
    snippet_id=st.text(max_size=256),
    model=st.text(max_size=200),
    version=st.integers(0, 2**32 - 1),
    row=st.integers(0, 7),
    times_ns=st.tuples(*[st.integers(0, 2**62)] * 3),
)
def test_a_response_is_what_protobuf_writes(snippet_id, model, version, row, times_ns):
    start_ns, compute_ns, queue_ns = times_ns
    of = manifest(model, version)
    scores = Scores(executed(VALUES, start_ns, start_ns + compute_ns), row, queue_ns, 8)
    expected = by_protobuf(of, snippet_id, scores)

    assert ScoreWriter(of).response(snippet_id, scores) == expected.SerializeToString()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_joined_results_are_a_message_with_all_of_them(count):
    of = manifest()
    batch = executed(VALUES, 5, 9)
    scores = [Scores(batch, row, row, 8) for row in range(count)]
    writer = ScoreWriter(of)

    message = snippets_pb2.ScoreStreamResponse.FromString(
        b"".join(writer.result(f"cam/{row}", each) for row, each in enumerate(scores))
    )

    assert list(message.results) == [
        snippets_pb2.SnippetResult(response=by_protobuf(of, f"cam/{row}", each))
        for row, each in enumerate(scores)
    ]


def test_values_are_little_endian_and_contiguous_whatever_the_executor_gives():
    strided = np.arange(40, dtype=">f4").reshape(4, 10)[:, ::2]
    of = model_pb2.ModelManifest(outputs=[model_pb2.TensorSpec(name="scores", shape=[5])])
    scores = Scores(executed({"scores": strided}, 0, 1), 2, 0, 4)

    response = snippets_pb2.ScoreResponse.FromString(ScoreWriter(of).response("s", scores))

    np.testing.assert_array_equal(
        np.frombuffer(response.outputs[0].data, "<f4"), [20, 22, 24, 26, 28]
    )
