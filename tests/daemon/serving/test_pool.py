import asyncio
import json
import shutil
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry

from tests.daemon.test_model_store import edit_manifest
from tsnd.v1 import model_pb2 as pb
from tsnd_daemon.errors import InvalidSnippet, ModelNotFound, PackageError
from tsnd_daemon.executors.synthetic import SyntheticExecutor
from tsnd_daemon.metrics import Metrics
from tsnd_daemon.model_store import Model, load_package
from tsnd_daemon.serving.pool import ModelPool, PoolOptions
from tsnd_daemon.serving.served_model import ServingOptions
from tsnd_daemon.settings import BatchPolicy, ExecutionOptions
from tsnd_daemon.versions import parse_version_policy

SERVING = ServingOptions(
    policy=BatchPolicy(max_batch_size=2, max_queue_delay_us=0, max_queue_size=8),
    execution=ExecutionOptions("synthetic", "auto", max_batch_size=2),
    weight=1.0,
    execution_timeout_s=5.0,
)
PAIRS = {"two": ("tiny_rgb", "tiny_flow")}


@pytest.fixture
def repository(tiny_repository, tmp_path):
    """A copy of the tiny repository that a test may change."""
    return shutil.copytree(tiny_repository, tmp_path / "models")


def add_version(repository, version, name="tiny_rgb"):
    folder = shutil.copytree(repository / name / "1", repository / name / str(version))
    edit_manifest(folder, version=version)
    return folder


class Chooser:
    """Chooses the synthetic backend, and remembers what it was asked about."""

    def __init__(self):
        self.asked = []

    def __call__(self, folder):
        self.asked.append((folder.parent.name, folder.name))
        return Model(load_package(folder).manifest, pb.Artifact(), folder, "synthetic")


@asynccontextmanager
async def pool_of(repository, *, registry=None, choose=None, policy="latest:1", pairs=None):
    options = PoolOptions(
        repository,
        pairs or {},
        lambda name: parse_version_policy(policy),
        choose or Chooser(),
        lambda name: SERVING,
        lambda model, execution: [lambda: SyntheticExecutor(model)],
    )
    async with asyncio.TaskGroup() as tasks:
        metrics = Metrics(registry or CollectorRegistry())
        pool = ModelPool(options, metrics, tasks, on_lost=fail)
        yield pool
        pool.retire_all()


def fail(lost):
    pytest.fail(f"no executor was lost, and yet: {lost}")


def versions_of(pool, name="tiny_rgb"):
    return [m.manifest.version for m in pool.catalogue.served() if m.manifest.name == name]


async def test_a_version_that_failed_is_tried_again_when_it_changes_or_when_told_to(repository):
    chooser = Chooser()
    async with pool_of(repository, choose=chooser) as pool:
        await pool.load_all()
        (add_version(repository, 2) / "labels.txt").unlink()
        for _ in range(3):
            await pool.poll()
        polled = chooser.asked.count(("tiny_rgb", "2"))
        with pytest.raises(PackageError, match="incomplete"):
            await pool.load("tiny_rgb")
        told = chooser.asked.count(("tiny_rgb", "2"))
        shutil.copy(repository / "tiny_rgb/1/labels.txt", repository / "tiny_rgb/2")
        await pool.poll()
        served = versions_of(pool)

    assert (polled, told) == (1, 2)
    assert served == [2]


async def test_what_has_not_changed_is_not_loaded_again(repository):
    chooser = Chooser()
    async with pool_of(repository, choose=chooser) as pool:
        await pool.load_all()
        await pool.poll()
        await pool.load("tiny_rgb")

    assert sorted(chooser.asked) == [("tiny_flow", "1"), ("tiny_rgb", "1")]


async def test_a_version_that_fails_keeps_all_that_were_served(repository):
    async with pool_of(repository, policy="latest:2") as pool:
        await pool.load_all()
        (add_version(repository, 2) / "labels.txt").unlink()
        add_version(repository, 3)
        await pool.poll()
        served = versions_of(pool)

    assert served == [1, 3]


async def test_all_versions_that_fail_are_named(repository):
    async with pool_of(repository, policy="all") as pool:
        await pool.load_all()
        for version in (2, 3):
            (add_version(repository, version) / "labels.txt").unlink()
        with pytest.raises(PackageError, match=r"tiny_rgb/2/labels.*tiny_rgb/3/labels"):
            await pool.load("tiny_rgb")


async def test_a_repository_that_goes_is_told_once_and_what_was_served_goes_on(repository, caplog):
    elsewhere = repository.parent / "elsewhere"
    async with pool_of(repository) as pool:
        await pool.load_all()
        for _ in range(2):
            repository.rename(elsewhere)
            await pool.poll()
            await pool.poll()
            elsewhere.rename(repository)
            await pool.poll()
        served = versions_of(pool)

    assert served == [1]
    assert caplog.text.count("is not a folder") == 2, "once for each time that it goes"


async def test_a_model_whose_folder_goes_is_retired(repository):
    registry = CollectorRegistry()
    async with pool_of(repository, registry=registry) as pool:
        await pool.load_all()
        shutil.rmtree(repository / "tiny_rgb")
        await pool.poll()
        served = pool.catalogue.served()

    assert [model.manifest.name for model in served] == ["tiny_flow"]
    labels = {"model": "tiny_rgb", "version": "1"}
    assert registry.get_sample_value("tsnd_pending_snippets", labels) is None


async def test_a_model_that_comes_back_has_metrics_again(repository):
    registry = CollectorRegistry()
    labels = {"model": "tiny_rgb", "version": "1"}
    async with pool_of(repository, registry=registry) as pool:
        await pool.load_all()
        for _ in range(5):
            await pool.unload("tiny_rgb")  # the old one is not gone when the new one comes
            await pool.load("tiny_rgb")
            assert registry.get_sample_value("tsnd_pending_snippets", labels) == 0


async def test_a_larger_model_is_refused_once_the_daemon_listens(repository):
    folder = add_version(repository, 2)
    async with pool_of(repository, policy="specific:1,2") as pool:
        await pool.load_all()
        pool.refuse_larger(16 * 21 * 3)
        manifest = json.loads((folder / "manifest.json").read_text())
        edit_manifest(folder, input={**manifest["input"], "shape": [17, 21, 3]})
        with pytest.raises(PackageError, match=r"takes snippets of 1071 bytes.*at most 1008"):
            await pool.load("tiny_rgb")


async def test_a_load_that_is_cancelled_leaves_nothing_behind(repository):
    begun, may_end = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    usual = Chooser()

    def slow(folder):
        if folder.name == "2":
            loop.call_soon_threadsafe(begun.set)
            asyncio.run_coroutine_threadsafe(may_end.wait(), loop).result(10)
        return usual(folder)

    async with asyncio.timeout(10):
        async with pool_of(repository, choose=slow) as pool:
            await pool.load_all()
            add_version(repository, 2)
            loading = asyncio.create_task(pool.load("tiny_rgb"))
            await begun.wait()
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
            may_end.set()
            assert versions_of(pool) == [1]
            assert await pool.load("tiny_rgb") == [2]


@pytest.mark.parametrize(
    ("asked", "error", "reason"),
    [
        (("nobody", 0, 1), ModelNotFound, "no model 'nobody' here; there are tiny_flow, tiny_rgb"),
        (("tiny_rgb", 7, 1), ModelNotFound, "has version 1 here, not 7"),
        (("two", 0, 0), InvalidSnippet, "this one's is 0. Send rgb (1) or flow (2)"),
        (("two", 0, 9), InvalidSnippet, "this one's is 9. Send rgb (1) or flow (2)"),
        (("two", 7, 2), ModelNotFound, "model 'tiny_flow' has version 1 here, not 7"),
    ],
)
async def test_what_is_not_there_is_told_with_what_is(repository, asked, error, reason):
    async with pool_of(repository, pairs=PAIRS) as pool:
        await pool.load_all()
        with pytest.raises(error) as caught:
            pool.catalogue.find(*asked)

    assert reason in str(caught.value)


async def test_a_pair_without_its_rgb_model_says_so(repository):
    async with pool_of(repository, pairs=PAIRS) as pool:
        await pool.load_all()
        await pool.unload("tiny_rgb")
        with pytest.raises(ModelNotFound, match="its rgb model is not served at the moment"):
            pool.catalogue.find("two", 0, pb.MODALITY_RGB)
        found = pool.catalogue.find("two", 0, pb.MODALITY_FLOW)

    assert found.manifest.name == "tiny_flow"


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        ({"two": ("tiny_rgb", "nobody")}, "the pair 'two' names 'nobody'"),
        ({"two": ("tiny_rgb", "tiny_rgb")}, "an rgb model and a flow model"),
        ({"tiny_rgb": ("tiny_rgb", "tiny_flow")}, "a name of its own"),
    ],
)
async def test_a_pair_that_is_none_is_refused_at_the_start(repository, pairs, reason):
    async with pool_of(repository, pairs=pairs) as pool:
        with pytest.raises(PackageError) as caught:
            await pool.load_all()

    assert reason in str(caught.value)
