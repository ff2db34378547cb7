"""Which models are served: loads, replaces and retires them while traffic flows.

A new version is warmed before it takes traffic. The change itself is one assignment on the
event loop, so no snippet falls between: those before it are the old version's, which answers
them and goes, those after it the new one's.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tsnd_daemon.errors import Draining, ModelNotFound, PackageError, StartError
from tsnd_daemon.metrics import Metrics
from tsnd_daemon.model_store import MANIFEST_FILE, Model, find_versions
from tsnd_daemon.scheduling.device_share import Device
from tsnd_daemon.serving.catalogue import Catalogue
from tsnd_daemon.serving.served_model import MakeExecutors, ServedModel, ServingOptions, serve_model
from tsnd_daemon.validation import SnippetContract
from tsnd_daemon.versions import VersionPolicy

logger = logging.getLogger(__name__)

Stamp = frozenset[tuple[str, int, int, int]]
"""What changes when a file does: its name, time, size and number."""


_CPU_BACKENDS = ("onnxruntime", "openvino", "synthetic")


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """What the pool asks about models by name.

    Attributes:
        repository: Folder of NAME/VERSION packages.
        pairs: The two models that each pair's name stands for.
        version_policy: Which versions of a model are served.
        choose: Reads a package and says what of it is run, and why; may block.
        serving: How a model is served.
        make_executors: Says how its executors are made.
    """

    repository: Path
    pairs: Mapping[str, tuple[str, ...]]
    version_policy: Callable[[str], VersionPolicy]
    choose: Callable[[Path], Model]
    serving: Callable[[str], ServingOptions]
    make_executors: MakeExecutors


@dataclass(slots=True, eq=False)
class _Life:
    """A model that is being served, and how to end that.

    Attributes:
        stamp: Of its manifest.
        served: What takes its traffic, once it is warm.
        retire: Set when it gets no more.
    """

    stamp: Stamp
    served: asyncio.Future[ServedModel]
    retire: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One version of a model in the repository.

    Attributes:
        name: The model's.
        version: Its number.
        why_not: Why it is not served; empty when it is.
    """

    name: str
    version: int
    why_not: str


class ModelPool:
    """The lives of the models that take traffic.

    Attributes:
        catalogue: Those that take it at the moment.
    """

    def __init__(
        self,
        options: PoolOptions,
        metrics: Metrics,
        tasks: asyncio.TaskGroup,
        *,
        on_lost: Callable[[BaseException], None],
    ) -> None:
        """Make a pool without models.

        Args:
            options: Where they are and how they are served.
            metrics: Where they report.
            tasks: Where each lives in a task of its own.
            on_lost: Called when a model has lost its executor, which ends the daemon.
        """
        self._options = options
        self._metrics = metrics
        self._tasks = tasks
        self._on_lost = on_lost
        self.catalogue = Catalogue(options.pairs)
        self._lives: dict[tuple[str, int], _Life] = {}
        self._alive: Counter[tuple[str, int]] = Counter()  # with those that load or drain
        self._failed: dict[tuple[str, int], Stamp] = {}
        self._complaint = ""
        self._devices = {"cpu": Device(), "gpu": Device()}
        self._changing = asyncio.Lock()
        self._is_closed = False
        self._cut_off = asyncio.Event()
        self._max_snippet_bytes: int | None = None

    def refuse_larger(self, max_snippet_bytes: int) -> None:
        """Load no model from now on whose snippets are larger than this."""
        self._max_snippet_bytes = max_snippet_bytes

    async def load_all(self) -> None:
        """Load every model of the repository; for the start, where nothing may fail.

        Raises:
            StartError: When one cannot be served.
        """
        for name, versions in (await self._find()).items():
            if not versions:
                logger.warning("%s has no version folder; ignored", self._folder(name))
            await self._change(name, versions)
        if not self.catalogue.names():
            raise PackageError(
                f"the model repository {self._options.repository} holds no model of a version "
                "that is served. Build one into it with tsn-build build --repository, or look at "
                "--version-policy."
            )
        for name, models in self._options.pairs.items():
            if missing := sorted(set(models) - self.catalogue.names()):
                raise PackageError(
                    f"the pair {name!r} names {' and '.join(map(repr, missing))}, which the model "
                    f"repository {self._options.repository} does not hold."
                )
            if name in self.catalogue.names() or len(self.catalogue.by_modality(name)) < 2:
                raise PackageError(
                    f"the pair {name!r} of {' and '.join(models)}: expected a name of its own, "
                    "an rgb model and a flow model."
                )

    async def load(self, name: str) -> list[int]:
        """Bring one model in line with its folder.

        Returns:
            The versions that are served then.

        Raises:
            ModelNotFound: When the repository has no such model.
            StartError: When a version cannot be served; those before go on.
        """
        async with self._changing:
            # By what a listing has: no name from outside becomes a path.
            versions = (await self._find()).get(name)
            if not versions:
                raise ModelNotFound(
                    f"the model repository holds no model {name[:128]!r}. Build it with tsn-build "
                    "build --repository."
                )
            await self._change(name, versions)
            return self.catalogue.versions(name)

    async def unload(self, name: str) -> None:
        """Stop serving a model, after it has answered what it accepted.

        Raises:
            ModelNotFound: When it is not served.
        """
        async with self._changing:
            if name not in self.catalogue.names():
                raise ModelNotFound(f"there is no model {name[:128]!r} here.")
            for version in self.catalogue.versions(name):
                self._retire(name, version)

    async def index(self) -> list[IndexEntry]:
        """List what the repository has and what is served, by name and version.

        Raises:
            PackageError: When the repository cannot be read.
        """
        found = await self._find()
        served = {(m.manifest.name, m.manifest.version) for m in self.catalogue.served()}
        stored = {(name, version) for name, versions in found.items() for version in versions}
        return [
            IndexEntry(*key, "" if key in served else self._why_not_served(*key, found[key[0]]))
            for key in sorted(served | stored)
        ]

    def _why_not_served(self, name: str, version: int, found: Iterable[int]) -> str:
        policy = self._options.version_policy(name)
        if version not in policy.choose(found):
            return f"its version_policy is {policy}"
        if (name, version) in self._failed:
            return "it could not be loaded; the log has the reason"
        return "it is not loaded"

    async def poll(self) -> None:
        """Bring all models in line with the repository; what fails is logged, once."""
        async with self._changing:
            try:
                found = await self._find()
            except PackageError as err:
                if str(err) != self._complaint:
                    logger.error("%s The models served so far go on.", err)
                self._complaint = str(err)
                return
            self._complaint = ""
            for name in {*found, *self.catalogue.names()}:
                try:
                    await self._change(name, found.get(name, []), is_retry=False)
                except StartError as err:
                    logger.error("%s What was served of %s goes on.", err, name)

    def retire_all(self) -> None:
        """End all models, after what they accepted is answered; no other begins."""
        self._is_closed = True
        for name, version in list(self._lives):
            self._retire(name, version)

    def cut_off(self) -> None:
        """End all models without waiting for what they have not answered."""
        self._cut_off.set()

    async def _find(self) -> dict[str, list[int]]:
        return await asyncio.to_thread(find_versions, self._options.repository)

    async def _change(self, name: str, found: Iterable[int], *, is_retry: bool = True) -> None:
        """Load versions that are new or have changed, then retire those that are gone.

        Args:
            name: Of the model.
            found: Versions that its folder has.
            is_retry: Whether to try a version again that has failed and not changed since.

        Raises:
            StartError: When a version cannot be served. The others are, and none is retired.
        """
        wanted = self._options.version_policy(name).choose(found)
        errors, has_failed = [], False
        for version in wanted:
            key, folder = (name, version), self._folder(name, version)
            life, stamp = self._lives.get(key), _stamp(folder, MANIFEST_FILE)
            if life is not None and life.stamp == stamp:
                continue
            # It may have been copied file by file, and be whole now.
            whole_stamp = _stamp(folder)
            if not is_retry and self._failed.get(key) == whole_stamp:
                has_failed = True
                continue
            try:
                await self._begin(key, stamp)
            except StartError as err:
                self._failed[key] = whole_stamp
                errors.append(err)
            else:
                self._failed.pop(key, None)
        if len(errors) > 1:
            raise PackageError(" ".join(map(str, errors)))
        if errors:
            raise errors[0]
        if not has_failed:
            for version in set(self.catalogue.versions(name)) - set(wanted):
                self._retire(name, version)

    async def _begin(self, key: tuple[str, int], stamp: Stamp) -> None:
        """Serve a version from now on, in place of what was served under its number."""
        life = _Life(stamp, asyncio.get_running_loop().create_future())
        living = self._tasks.create_task(self._live(key, life))
        try:
            served = await life.served
        except asyncio.CancelledError:
            living.cancel()  # nobody would ever retire it
            raise
        if self._is_closed:
            life.retire.set()
            raise Draining("the daemon is stopping; ask it again when it is back.")
        self.catalogue.put(served)
        before, self._lives[key] = self._lives.get(key), life
        if before is not None:
            before.retire.set()

    async def _live(self, key: tuple[str, int], life: _Life) -> None:
        """Load a version, serve it until it is retired or has lost its executor, and close it."""
        name, version = key
        self._alive[key] += 1
        try:
            await self._live_until_retired(key, life)
        finally:
            self._alive[key] -= 1
            if not self._alive[key]:
                self._metrics.for_model(name, version).remove()

    async def _live_until_retired(self, key: tuple[str, int], life: _Life) -> None:
        name, version = key
        async with AsyncExitStack() as stack:
            try:
                served = await self._load(key, stack)
            except StartError as err:
                _settle(life.served, err)
                return
            except Exception as err:
                logger.exception("loading model %s version %d failed", name, version)
                reason = f"{type(err).__name__}: {err}"
                _settle(life.served, PackageError(_unloadable(name, version, reason)))
                return
            batching = asyncio.create_task(served.batcher.run())
            _settle(life.served, served)
            try:
                await _first(batching, life.retire.wait())
                await _first(batching, self._drained_or_cut_off(served))
            finally:
                batching.cancel()
                await asyncio.wait({batching})
            if not batching.cancelled() and (lost := batching.exception()) is not None:
                self._on_lost(lost)
        if key not in self._lives:
            logger.info("model %s version %d is no longer served", name, version)

    async def _drained_or_cut_off(self, served: ServedModel) -> None:
        cutting = asyncio.create_task(self._cut_off.wait())
        try:
            await _first(cutting, served.batcher.drained())
        finally:
            cutting.cancel()

    async def _load(self, key: tuple[str, int], stack: AsyncExitStack) -> ServedModel:
        """Choose what is run of a package, and warm it up."""
        with self._metrics.time_load():
            return await self._load_untimed(key, stack)

    async def _load_untimed(self, key: tuple[str, int], stack: AsyncExitStack) -> ServedModel:
        model = await asyncio.to_thread(self._options.choose, self._folder(*key))
        self._check_size(model)
        device = self._devices["cpu" if model.backend in _CPU_BACKENDS else "gpu"]
        return await stack.enter_async_context(
            serve_model(
                model,
                self._options.serving(model.manifest.name),
                self._options.make_executors,
                device=device,
                metrics=self._metrics,
            )
        )

    def _check_size(self, model: Model) -> None:
        size_bytes = SnippetContract(model.manifest).size_bytes
        if self._max_snippet_bytes is not None and size_bytes > self._max_snippet_bytes:
            raise PackageError(
                f"model {model.manifest.name!r} takes snippets of {size_bytes} bytes, and this "
                f"daemon was started for at most {self._max_snippet_bytes}. Start it again."
            )

    def _retire(self, name: str, version: int) -> None:
        """Give a version no more traffic; it answers what it has and goes."""
        self._lives.pop((name, version)).retire.set()
        self.catalogue.drop(name, version)

    def _folder(self, name: str, version: int | None = None) -> Path:
        folder = self._options.repository / name
        return folder if version is None else folder / str(version)


def _stamp(folder: Path, *files: str) -> Stamp:
    """Return what changes whenever certain files of a package do, or (if none are named) any.

    A package that is whole changes with its manifest, which is replaced, never written to.
    """
    try:
        paths = [folder / file for file in files] or list(folder.iterdir())
        stats = [(path.name, path.stat()) for path in paths]
    except OSError:
        return frozenset()
    return frozenset((name, s.st_mtime_ns, s.st_size, s.st_ino) for name, s in stats)


def _unloadable(name: str, version: int, reason: str) -> str:
    return (
        f"model {name!r} version {version} cannot be loaded: {reason.rstrip('.')}. The log has "
        "the details."
    )


async def _first(task: asyncio.Task[Any], other: Coroutine[Any, Any, object]) -> None:
    """Wait until either has ended, and end the other thing if it is the coroutine."""
    waiting = asyncio.create_task(other)
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


def _settle(future: asyncio.Future[ServedModel], result: ServedModel | Exception) -> None:
    """Give a future its end, unless nobody waits for it any more."""
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
