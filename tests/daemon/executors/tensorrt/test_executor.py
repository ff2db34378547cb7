"""The executor on a libcuda of any kind, with an engine that computes in ONNX Runtime.

The driver runs what is enqueued as late as CUDA allows, so a buffer that is reused or read
too early gives wrong numbers here.
"""

from functools import partial

import numpy as np
import pytest

from tests.daemon.executors.tensorrt.conftest import NOTHING
from tests.late_driver import find_late_driver
from tests.stand_in_engine import alive
from tsnd.v1 import model_pb2 as pb
from tsnd_daemon.errors import ExecutorLost, PackageError, SettingsError
from tsnd_daemon.executors.base import ExecutorThread
from tsnd_daemon.executors.onnxruntime import OnnxRuntimeExecutor, open_session
from tsnd_daemon.executors.tensorrt.executor import TensorRtExecutor
from tsnd_daemon.model_store import Model

if find_late_driver() is None:
    pytest.skip("needs a libcuda in a process of its own: make test-cuda", allow_module_level=True)

ILLEGAL_ADDRESS = 700
TOLERANCE = 1e-6  # float32 sums may be ordered differently in another batch size


def run(executor, snippets, slot=0):
    executor.start(slot, snippets)
    return executor.finish(slot)


@pytest.fixture
def reference(model):
    """What ONNX Runtime's executor gives."""
    executor = OnnxRuntimeExecutor(model, open_session(model, threads=1), max_batch_size=16)
    return lambda snippets: run(executor, snippets)


def assert_equal(results, expected):
    assert results.keys() == expected.keys()
    for name, rows in results.items():
        assert rows.dtype == np.float32
        np.testing.assert_allclose(rows, expected[name], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("count", [1, 3, 4])
def test_it_gives_what_the_onnxruntime_executor_gives(make, reference, snippets_for, count):
    snippets = snippets_for(count)

    assert_equal(run(make(), snippets), reference(snippets))


def test_start_does_not_wait_for_the_device(make, driver, snippets_for):
    executor = make()

    executor.start(0, snippets_for(2))

    assert driver.waiting() > 0
    executor.finish(0)
    assert driver.waiting() == 0


def test_batches_in_flight_do_not_mix(make, driver, reference, snippets_for):
    executor = make(slots=3)
    batches = [snippets_for(count, seed) for seed, count in enumerate([4, 2, 3])]

    for slot, snippets in enumerate(batches):
        executor.start(slot, snippets)
    first = executor.finish(0)
    executor.start(0, batches[2])  # while 1 and 2 are in flight
    rest = [executor.finish(1), executor.finish(2), executor.finish(0)]

    for results, snippets in zip([first, *rest], [*batches, batches[2]], strict=True):
        assert_equal(results, reference(snippets))


def test_finishing_a_slot_leaves_the_others_in_flight(make, driver, snippets_for):
    executor = make()
    executor.start(0, snippets_for(2))
    executor.start(1, snippets_for(2))

    executor.finish(0)

    assert driver.waiting() > 0
    executor.finish(1)


def test_results_of_one_batch_survive_the_next_and_the_executor(make, snippets_for):
    executor = make()
    first, second = snippets_for(2)

    scores = run(executor, [first])["scores"]
    copy = scores.copy()
    run(executor, [second, second])
    executor.close()

    np.testing.assert_array_equal(scores, copy)


def test_batches_change_profiles_and_are_filled_up(make, reference, snippets_for):
    executor = make(max_batch_size=9, profiles=[(2, 4, 4), (7, 9, 9)], slots=1)

    for count in (1, 4, 5, 9, 3, 7, 7):
        snippets = snippets_for(count, seed=count)
        assert_equal(run(executor, snippets), reference(snippets))


def test_snippets_are_copied_when_they_are_started(make, reference, snippets_for):
    executor, snippets = make(), snippets_for(2)
    expected = reference(snippets)

    executor.start(0, snippets)
    for snippet in snippets:
        snippet.pixels[:] = 0

    assert_equal(executor.finish(0), expected)


def test_everything_is_freed_when_it_is_closed(make, driver, snippets_for):
    executor = make(slots=3)
    run(executor, snippets_for(2))
    held = driver.held()
    assert held["streams"] == held["events"] == 3
    assert held["contexts"] == 1

    executor.close()

    assert driver.held() == NOTHING
    assert not alive


def test_a_batch_in_flight_does_not_keep_it_from_closing(make, driver, snippets_for):
    executor = make(slots=1)
    executor.start(0, snippets_for(2))

    executor.close()

    assert driver.held() == NOTHING


def test_too_large_a_batch_size_is_refused_with_the_remedy(make, driver):
    remedy = (
        r"--max-batch-size 9 exceeds the profiles of .*, 1-4\(4\): run tsn-build plan "
        r"--max-batch-size 9 again, or take --max-batch-size 4"
    )
    with pytest.raises(SettingsError, match=remedy):
        make(max_batch_size=9)

    assert driver.held() == NOTHING


def test_another_engine_than_the_manifest_promises_is_refused(model, driver, load):
    manifest = pb.ModelManifest()
    manifest.CopyFrom(model.manifest)
    manifest.outputs[0].shape[0] += 1
    changed = Model(manifest, model.artifact, model.path, model.backend)

    with pytest.raises(PackageError, match="its manifest promises") as caught:
        TensorRtExecutor(changed, max_batch_size=1, device=0, slots=1, load_engine=load())

    assert caught.value.__traceback__ is not None  # an error that is kept keeps no engine
    assert not alive


def room_for(model, rows, *, slots):
    """Device memory for so many slots, and half a slot more."""
    inputs = int(np.prod(model.manifest.input.shape)) * rows
    outputs = sum(4 * int(np.prod(output.shape)) * rows for output in model.manifest.outputs)
    return int((inputs + outputs + SCRATCH) * (slots + 0.5))


SCRATCH = 64


def test_short_memory_gives_fewer_slots_and_says_so(make, model, driver, caplog):
    driver.limit_memory(room_for(model, 4, slots=2))

    executor = make(slots=8, scratch_bytes=SCRATCH)

    assert executor.slots == 2
    assert "GPU 0 has memory for 2 of 8 slots of tiny_" in caplog.text
    assert "--slots 2" in caplog.text


def test_the_slots_that_found_memory_work(make, model, driver, reference, snippets_for):
    driver.limit_memory(room_for(model, 4, slots=2))
    executor, snippets = make(slots=8, scratch_bytes=SCRATCH), snippets_for(4)

    assert_equal(run(executor, snippets, slot=1), reference(snippets))


def test_a_context_that_finds_no_memory_counts_as_well(make, driver, caplog):
    scratch = 1 << 20
    driver.limit_memory(scratch * 3 // 2)

    executor = make(scratch_bytes=scratch)

    assert executor.slots == 1
    assert "(out of memory)" in caplog.text


def test_memory_for_no_slot_is_refused_with_the_remedy(make, driver):
    driver.limit_memory(100)

    with pytest.raises(SettingsError, match=r"no memory for a batch .* Lower --max-batch-size"):
        make()

    assert driver.held() == NOTHING
    assert not alive


def test_a_batch_that_tensorrt_refuses_fails_alone(make, driver, reference, snippets_for):
    reasons = iter(["", "no kernel", "", ""])
    executor, snippets = make(refuse=lambda: next(reasons)), snippets_for(2)
    executor.start(0, snippets)

    with pytest.raises(RuntimeError, match="TensorRT refused a batch of 2: no kernel"):
        executor.start(1, snippets_for(2, seed=1))
    executor.start(1, snippets_for(3))

    assert_equal(executor.finish(0), reference(snippets))
    assert_equal(executor.finish(1), reference(snippets_for(3)))


def test_a_refused_batch_can_be_run_again(make, driver, reference, snippets_for):
    reasons = iter(["no kernel", "", ""])
    executor, snippets = make(refuse=lambda: next(reasons)), snippets_for(2)

    with pytest.raises(RuntimeError, match="no kernel"):
        executor.start(0, snippets)

    assert driver.waiting() == 0  # the copy of the refused batch does not meet the next one
    assert_equal(run(executor, snippets), reference(snippets))


def test_a_refusal_for_an_error_of_the_device_loses_the_executor(make, driver, snippets_for):
    def meet_the_error():
        driver.fail(ILLEGAL_ADDRESS)
        return "CUDA failure"

    executor = make(refuse=meet_the_error)

    with pytest.raises(ExecutorLost, match="cuStreamSynchronize failed"):
        executor.start(0, snippets_for(1))


def test_an_error_of_the_device_when_loading_is_refused(make, driver):
    driver.fail(ILLEGAL_ADDRESS)

    with pytest.raises(
        SettingsError, match=r"GPU 0 fails while tiny_\w+ is loaded: cuStreamCreate"
    ):
        make()


def test_an_error_of_the_device_when_starting_loses_the_executor(make, driver, snippets_for):
    executor = make()
    driver.fail(ILLEGAL_ADDRESS)

    with pytest.raises(ExecutorLost, match="GPU 0 cannot go on: cuMemcpyHtoDAsync failed"):
        executor.start(0, snippets_for(1))


def test_an_error_of_the_device_when_finishing_loses_the_executor(make, driver, snippets_for):
    executor = make()
    executor.start(0, snippets_for(1))
    executor.start(1, snippets_for(1))
    driver.fail(ILLEGAL_ADDRESS)

    for slot in (0, 1):
        with pytest.raises(ExecutorLost, match="cuEventSynchronize failed"):
            executor.finish(slot)


async def test_in_its_thread_it_scores_batches_that_overlap(
    model, driver, load, reference, snippets_for
):
    thread = ExecutorThread("gpu-0")
    await thread.start(
        lambda: TensorRtExecutor(model, max_batch_size=4, device=0, slots=2, load_engine=load())
    )
    batches = [snippets_for(1 + seed % 4, seed) for seed in range(12)]

    futures = [thread.submit(snippets) for snippets in batches]
    executions = [await future for future in futures]
    await thread.close()

    assert thread.slots == 2
    for execution, snippets in zip(executions, batches, strict=True):
        assert_equal(execution.outputs, reference(snippets))


async def test_instances_on_several_gpus_work_side_by_side(
    model, driver, load, reference, snippets_for
):
    driver.show_devices(2)
    threads, devices = [ExecutorThread(f"gpu-{number}") for number in range(3)], []
    for thread, device in zip(threads, (0, 1, 1), strict=True):
        factory = partial(
            TensorRtExecutor, model, max_batch_size=4, device=device, slots=2, load_engine=load()
        )
        await thread.start(factory)
        devices.append(driver.last_device())
    batches = [snippets_for(1 + seed % 4, seed) for seed in range(12)]

    futures = [threads[i % 3].submit(snippets) for i, snippets in enumerate(batches)]
    executions = [await future for future in futures]
    for thread in threads:
        await thread.close()

    assert devices == [0, 1, 1]
    for execution, snippets in zip(executions, batches, strict=True):
        assert_equal(execution.outputs, reference(snippets))


async def test_in_its_thread_an_error_of_the_device_reaches_who_waits(
    model, driver, load, snippets_for
):
    thread = ExecutorThread("gpu-0")
    await thread.start(
        lambda: TensorRtExecutor(model, max_batch_size=4, device=0, slots=2, load_engine=load())
    )
    driver.fail(ILLEGAL_ADDRESS)

    with pytest.raises(ExecutorLost):
        await thread.submit(snippets_for(2))
    driver.fail(0)
    await thread.close()


async def test_in_its_thread_a_failed_start_leaves_nothing(model, driver, load):
    thread = ExecutorThread("gpu-0")

    with pytest.raises(SettingsError, match="exceeds the profiles"):
        await thread.start(
            lambda: TensorRtExecutor(model, max_batch_size=9, device=0, slots=2, load_engine=load())
        )

    assert driver.held() == NOTHING
