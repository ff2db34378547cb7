"""One model that takes traffic: from its package to warm executors, and to their end."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import numpy as np

from tsnd.v1 import model_pb2 as pb
from tsnd_daemon.backends.choice import precision_name
from tsnd_daemon.errors import PackageError
from tsnd_daemon.executors.base import ExecutorFactory, ExecutorThread
from tsnd_daemon.executors.tensorrt.profiles import Profile, choose_profile
from tsnd_daemon.metrics import Metrics
from tsnd_daemon.model_statistics import ModelStatistics
from tsnd_daemon.model_store import Model
from tsnd_daemon.scheduling.batcher import Batcher
from tsnd_daemon.scheduling.device_share import Device
from tsnd_daemon.settings import BatchPolicy, ExecutionOptions
from tsnd_daemon.snippets import Snippet
from tsnd_daemon.stages import ModelStages
from tsnd_daemon.validation import SnippetContract
from tsnd_daemon.wire.responses import ScoreWriters

logger = logging.getLogger(__name__)

MakeExecutors = Callable[[Model, ExecutionOptions], Sequence[ExecutorFactory]]
"""Says how a model's executors are made, one each; may block, for it may measure."""


@dataclass(frozen=True, slots=True, eq=False)
class ServedModel:
    """A model that takes traffic.

    Attributes:
        model: What is run, on which backend.
        contract: Checks its snippets.
        writers: Write its scores.
        batcher: Takes its snippets.
        policy: Bounds of its batches.
        statistics: What has become of its snippets.
        stages: Where their time went.
    """

    model: Model
    contract: SnippetContract
    writers: ScoreWriters
    batcher: Batcher
    policy: BatchPolicy
    statistics: ModelStatistics
    stages: ModelStages

    @property
    def max_batch_size(self) -> int:
        """Most snippets in one execution."""
        return self.policy.max_batch_size

    @property
    def manifest(self) -> pb.ModelManifest:
        """Of its package."""
        return self.model.manifest


@dataclass(frozen=True, slots=True)
class ServingOptions:
    """What models of one daemon have in common, and what is this one's own.

    Attributes:
        policy: Bounds of its batches.
        execution: How it is run.
        weight: Its part of the device.
        execution_timeout_s: After which an executor counts as hanging, seconds.
    """

    policy: BatchPolicy
    execution: ExecutionOptions
    weight: float
    execution_timeout_s: float


@asynccontextmanager
async def serve_model(
    model: Model,
    options: ServingOptions,
    make_executors: MakeExecutors,
    *,
    device: Device,
    metrics: Metrics,
) -> AsyncIterator[ServedModel]:
    """Load a model, warm it up, and close its executors at the end.

    The caller runs its batcher.

    Raises:
        StartError: When it cannot be loaded or run.
    """
    manifest, begun_s = model.manifest, time.monotonic()
    async with AsyncExitStack() as stack:
        factories = await asyncio.to_thread(make_executors, model, options.execution)
        threads = [
            await stack.enter_async_context(_running(f"{manifest.name}-{index}", factory))
            for index, factory in enumerate(factories)
        ]
        for thread in threads:
            for size in _warm_up_sizes(model.artifact, options.policy.max_batch_size):
                await _warm_up(thread, manifest, size, options.execution_timeout_s)
        logger.info(
            "model %s version %d is warm after %.1f s: %s, %s, %d executor(s)",
            manifest.name,
            manifest.version,
            time.monotonic() - begun_s,
            precision_name(model.artifact),
            model.backend,
            len(threads),
        )
        reported = metrics.for_model(
            manifest.name,
            manifest.version,
            crops=manifest.preprocessing.crops_per_snippet,
            rows=rows_by_size(model.artifact, options.policy.max_batch_size),
        )
        reported.note_served(
            backend=model.backend,
            precision=precision_name(model.artifact),
            executors=len(threads),
        )
        batcher = Batcher(
            manifest.name,
            threads,
            options.policy,
            reported,
            device=device,
            weight=options.weight,
            execution_timeout_s=options.execution_timeout_s,
        )
        yield ServedModel(
            model,
            SnippetContract(manifest),
            ScoreWriters(manifest),
            batcher,
            options.policy,
            reported.statistics,
            reported.stages,
        )


@asynccontextmanager
async def _running(name: str, factory: ExecutorFactory) -> AsyncIterator[ExecutorThread]:
    thread = ExecutorThread(name)
    await thread.start(factory)
    try:
        yield thread
    finally:
        try:
            await thread.close()
        except Exception:  # that of a lost GPU fails, and there is still something to drain
            logger.exception("%s did not close well", name)


def _warm_up_sizes(artifact: pb.Artifact, max_batch_size: int) -> list[int]:
    """Return the batches to run before traffic comes: all that have kernels of their own."""
    profiles = artifact.plan.profiles
    sizes = {1, max_batch_size, *(p.opt for p in profiles), *(p.max for p in profiles)}
    return sorted(size for size in sizes if size <= max_batch_size)


def rows_by_size(artifact: pb.Artifact, max_batch_size: int) -> list[int]:
    """Return how many rows are computed for batches of 1, 2, and so on; graphs fill up none."""
    sizes = range(1, max_batch_size + 1)
    profiles = [
        Profile(index, p.min, p.opt, p.max) for index, p in enumerate(artifact.plan.profiles)
    ]
    if not profiles:
        return list(sizes)
    return [choose_profile(profiles, size).rows_for(size) for size in sizes]


async def _warm_up(
    thread: ExecutorThread, manifest: pb.ModelManifest, size: int, timeout_s: float
) -> None:
    snippet = Snippet("warm-up", np.zeros(tuple(manifest.input.shape), np.uint8))
    try:
        async with asyncio.timeout(timeout_s) as allowance:
            await thread.submit([snippet] * size)
    except Exception as err:
        if allowance.expired():
            raise PackageError(
                f"model {manifest.name!r} has hung for {timeout_s:g} s over a batch of {size} "
                "while warming up. Raise execution_timeout_s if that is how long it takes."
            ) from err
        raise PackageError(
            f"model {manifest.name!r} failed to run a batch of {size} while warming up: {err}. "
            "Lower max_batch_size if memory is short, or build the package again."
        ) from err
