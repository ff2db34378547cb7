"""Chooses how ONNX Runtime uses the cores, by a short measurement with the model itself.

One batch on all cores leaves some of them idle wherever a layer is too small to divide;
several batches side by side do not, but each takes longer. Which is faster depends on
the model and on the machine, so both are timed.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import onnxruntime

from tsnd_daemon.errors import PackageError
from tsnd_daemon.executors.onnxruntime import open_session
from tsnd_daemon.executors.tensors import input_buffer
from tsnd_daemon.model_store import Model
from tsnd_daemon.settings import ExecutionOptions

_MOST_ROUNDS = 3
_MOST_INSTANCES = 8


@dataclass(frozen=True, slots=True)
class Question:
    """What is measured, and when the answer is not the first.

    Attributes:
        budget_s: After it no round of turns begins.
        turns: That each setup gets within the budget, by the size of the batches.
        gain: By how much a setup must beat those before it, such as 0.1.
    """

    budget_s: float
    turns: int
    gain: float


# A snippet that comes alone waits longer with many instances, so they must gain a lot.
_HOW_MANY_INSTANCES = Question(budget_s=0.8, turns=2, gain=0.10)
# BN-Inception gave 35.3 snippets/s with the arena and 34.4 without, and took 205 and 196 MB;
# with ten crops it gave the same, and took 580 and 280 MB.
_WHETHER_ARENA = Question(budget_s=0.4, turns=1, gain=0.03)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CpuSetup:
    """How a model uses the CPU.

    Attributes:
        instances: Batches that run side by side, in one session.
        threads: Of one batch, with the one that asks for it.
        arena: Whether memory is kept from batch to batch.
    """

    instances: int
    threads: int
    arena: bool = True

    def __str__(self) -> str:
        arena = "with" if self.arena else "without"
        return f"{self.instances} instance(s) of {self.threads} thread(s) {arena} memory arena"


def instance_setups(options: ExecutionOptions, cpus: int) -> list[CpuSetup]:
    """List the numbers of instances to try, the preferred one first.

    That is two: while the event loop keeps one waiting for a core, or between two batches, the
    other goes on. Behind the daemon, with its clients on the same two cores, BN-Inception gave
    97 % of a bare session's snippets/s with two instances of one thread, and 83 % with one of two
    threads; a snippet alone took 57 and 45 ms.

    Args:
        options: Where they say how many instances or threads, so it is.
        cpus: Cores that may be used.
    """
    threads = options.threads or cpus
    counts = [options.instances] if options.instances else _instance_counts(threads)
    # Instances share the session's threads and bring one each.
    return [CpuSetup(count, max(1, threads - count + 1)) for count in counts]


def snippets_in_turn(
    question: Question, setups: int, *, snippet_s: float, max_batch_size: int
) -> int:
    """Return how many snippets a turn has, so that every setup gets its turns.

    As many as in the largest batch, where there is time, for small batches flatter the
    instances: BN-Inception on two cores gave 34 snippets/s in batches of 8 and 37 in two of
    4 side by side, but 30 in batches of 1 and 37 in two of 1.

    Args:
        question: What is measured.
        setups: How many are compared.
        snippet_s: How long one snippet takes.
        max_batch_size: Most snippets in a batch.

    Returns:
        At least 1; 0 when even that takes twice the time there is.
    """
    affordable = question.budget_s / (setups * snippet_s)
    if affordable < 0.5:
        return 0
    return max(1, min(max_batch_size, int(affordable / question.turns)))


def rates(
    setups: Sequence[CpuSetup],
    measure: Callable[[CpuSetup], float],
    *,
    budget_s: float,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[CpuSetup, float]:
    """Measure setups in turns, so that a machine that drifts hits all alike.

    Args:
        setups: At least one.
        measure: Returns snippets per second in a setup.
        budget_s: After it no round of turns begins; every setup has one.
        clock: Seconds that pass.

    Returns:
        Each setup's best turn, in their order: what disturbs only makes slower.
    """
    best = dict.fromkeys(setups, 0.0)
    deadline = clock() + budget_s
    for _ in range(_MOST_ROUNDS):
        for setup in setups:
            best[setup] = max(measure(setup), best[setup])
        if clock() >= deadline:
            break
    return best


def first_worth_it(measured: Mapping[CpuSetup, float], gain: float) -> CpuSetup:
    """Return the first setup that none of the others beats by more than a share.

    Args:
        measured: Snippets per second; the setup to be preferred first.
        gain: What a later one must gain, such as 0.1.
    """
    fastest = max(measured.values())
    return next(setup for setup, rate in measured.items() if rate * (1 + gain) >= fastest)


def tune(
    model: Model, options: ExecutionOptions, cpus: int
) -> tuple[onnxruntime.InferenceSession, CpuSetup]:
    """Load a model, and choose instances, threads and memory arena for it.

    BN-Inception on two cores takes 1.6 s for it, with all loading.

    Args:
        model: Its path is an ONNX file.
        options: What they set is not measured.
        cpus: Cores that may be used.

    Returns:
        A session, and how many executors share it.

    Raises:
        PackageError: When the graph cannot be loaded or run.
    """
    setups = instance_setups(options, cpus)
    trial = _Trial(model, options.max_batch_size, setups[0])
    setup = trial.choose(setups, _HOW_MANY_INSTANCES)
    frugal = CpuSetup(setup.instances, setup.threads, arena=False)
    # How the arena grows is left alone: by powers of two or as requested, BN-Inception
    # took 205 and 207 MB, with ten crops 579 and 599.
    setup = trial.choose([frugal, setup], _WHETHER_ARENA)
    logger.info("model %s: ONNX Runtime with %s", model.manifest.name, setup)
    return trial.session(setup), setup


class _Trial:
    """A model in several sessions, each loaded once."""

    def __init__(self, model: Model, max_batch_size: int, setup: CpuSetup) -> None:
        self._model = model
        self._max_batch_size = max_batch_size
        self._sessions: dict[tuple[int, bool], onnxruntime.InferenceSession] = {}
        single = CpuSetup(1, setup.threads, setup.arena)
        self._rate(single, 1)  # the first time is also for memory
        self._snippet_s = 1 / self._rate(single, 1)

    def session(self, setup: CpuSetup) -> onnxruntime.InferenceSession:
        key = (setup.threads, setup.arena)
        if key not in self._sessions:
            self._sessions[key] = open_session(
                self._model, threads=setup.threads, arena=setup.arena
            )
        return self._sessions[key]

    def choose(self, setups: Sequence[CpuSetup], question: Question) -> CpuSetup:
        """Return the first setup that no other beats by more than a share."""
        snippets = snippets_in_turn(
            question,
            len(setups),
            snippet_s=self._snippet_s,
            max_batch_size=self._max_batch_size,
        )
        if len(setups) == 1 or not snippets:
            return setups[0]
        measured = rates(
            setups, lambda setup: self._rate(setup, snippets), budget_s=question.budget_s
        )
        name = self._model.manifest.name
        for setup, rate in measured.items():
            logger.debug("model %s: %.1f snippets/s with %s", name, rate, setup)
        return first_worth_it(measured, question.gain)

    def _rate(self, setup: CpuSetup, snippets: int) -> float:
        """Divide snippets among the instances and run them; returns snippets per second."""
        size = max(1, snippets // setup.instances)
        run = self._runner(setup, size)
        with ThreadPoolExecutor(setup.instances) as pool:
            start = time.perf_counter()
            batches = [pool.submit(run) for _ in range(setup.instances)]
            for batch in batches:
                batch.result()
            return size * setup.instances / (time.perf_counter() - start)

    def _runner(self, setup: CpuSetup, size: int) -> Callable[[], None]:
        session, manifest = self.session(setup), self._model.manifest
        outputs = [output.name for output in manifest.outputs]
        frames = {manifest.input.name: input_buffer(self._model, size)}

        def run() -> None:
            try:
                session.run(outputs, frames)
            except Exception as err:
                raise PackageError(
                    f"ONNX Runtime cannot run {self._model.path}: {err}. Build the package again."
                ) from err

        return run


def _instance_counts(threads: int) -> list[int]:
    """Return powers of two, as far as there are threads: two, one, four, eight."""
    return [count for count in (2, 1, 4, _MOST_INSTANCES) if count <= threads]
