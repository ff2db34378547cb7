import threading
from functools import partial

import pytest
from prometheus_client import CollectorRegistry

from tsnd.v1 import model_pb2 as pb
from tsnd_daemon.errors import PackageError
from tsnd_daemon.executors.synthetic import SyntheticExecutor
from tsnd_daemon.metrics import Metrics
from tsnd_daemon.model_store import Model, load_package
from tsnd_daemon.scheduling.device_share import Device
from tsnd_daemon.serving.served_model import ServingOptions, rows_by_size, serve_model
from tsnd_daemon.settings import BatchPolicy, ExecutionOptions


class Recorder(SyntheticExecutor):
    """Remembers the sizes of its batches and whether it was closed."""

    def __init__(self, model, *, fails=(), cannot_close=False):
        super().__init__(model, max_batch_size=64)
        self.sizes, self.closed = [], False
        self._fails, self._cannot_close = fails, cannot_close

    def start(self, slot, snippets):
        self.sizes.append(len(snippets))
        if len(snippets) in self._fails:
            raise MemoryError("it does not fit")
        super().start(slot, snippets)

    def close(self):
        self.closed = True
        if self._cannot_close:
            raise RuntimeError("the device is gone")


@pytest.fixture
def serve(tiny_repository):
    """Serves the tiny model with some executors."""
    package = load_package(tiny_repository / "tiny_rgb" / "1")

    def make(*kinds, max_batch_size=8, profiles=()):
        made = []
        artifact = pb.Artifact(plan=pb.Plan(profiles=profiles))
        model = Model(package.manifest, artifact, package.folder, "synthetic")

        def factory(kind):
            made.append(Recorder(model, **kind))
            return made[-1]

        options = ServingOptions(
            BatchPolicy(max_batch_size, max_queue_delay_us=0, max_queue_size=64),
            ExecutionOptions("synthetic", "auto", max_batch_size),
            weight=1.0,
            execution_timeout_s=5.0,
        )
        serving = serve_model(
            model,
            options,
            lambda model, execution: [partial(factory, kind) for kind in kinds],
            device=Device(),
            metrics=Metrics(CollectorRegistry()),
        )
        return serving, made

    return make


@pytest.mark.parametrize(
    ("max_batch_size", "profiles", "sizes"),
    [
        (1, [], [1]),
        (8, [], [1, 8]),
        (8, [(1, 4, 8)], [1, 4, 8]),
        (8, [(1, 4, 16)], [1, 4, 8]),
        (16, [(1, 1, 2), (3, 6, 16)], [1, 2, 6, 16]),
    ],
)
async def test_every_batch_that_has_kernels_of_its_own_is_run_before_traffic_comes(
    serve, max_batch_size, profiles, sizes
):
    profiles = [pb.Profile(min=least, opt=opt, max=most) for least, opt, most in profiles]
    serving, made = serve({}, max_batch_size=max_batch_size, profiles=profiles)
    async with serving:
        assert [executor.sizes for executor in made] == [sizes]


async def test_each_executor_is_warmed_and_closed_at_the_end(serve):
    serving, made = serve({}, {})
    async with serving:
        assert [executor.sizes for executor in made] == [[1, 8], [1, 8]]
        assert not any(executor.closed for executor in made)

    assert all(executor.closed for executor in made)


async def test_a_batch_that_does_not_fit_is_told_with_the_remedy_and_all_are_closed(serve):
    serving, made = serve({}, {"fails": [8]})
    with pytest.raises(PackageError, match=r"a batch of 8 .*it does not fit.*max_batch_size"):
        async with serving:
            pass

    assert [executor.closed for executor in made] == [True, True]


async def test_one_that_cannot_be_closed_is_logged_and_keeps_no_other_open(serve, caplog):
    serving, made = serve({}, {"cannot_close": True})
    async with serving:
        pass

    assert [executor.closed for executor in made] == [True, True]
    assert "tiny_rgb-1 did not close well" in caplog.text
    assert "the device is gone" in caplog.text
    assert not any(t.name.startswith("executor-") for t in threading.enumerate())


def test_batches_take_the_rows_of_the_profile_that_computes_fewest():
    profile = pb.Profile
    plan = pb.Plan(profiles=[profile(min=1, opt=1, max=1), profile(min=4, opt=8, max=8)])

    assert rows_by_size(pb.Artifact(plan=plan), 6) == [1, 4, 4, 4, 5, 6]


def test_a_graph_fills_up_no_batch():
    assert rows_by_size(pb.Artifact(), 4) == [1, 2, 3, 4]
