"""Describes models in Triton's words; pure functions."""

from collections.abc import Iterable

from tsnd.kserve import inference_pb2 as pb
from tsnd.v1 import model_pb2
from tsnd_daemon.model_statistics import ModelStatistics, Tally
from tsnd_daemon.scheduling.fair_queue import PRIORITIES
from tsnd_daemon.scheduling.waiting_room import NORMAL
from tsnd_daemon.serving.served_model import ServedModel
from tsnd_daemon.settings import BatchPolicy
from tsnd_daemon.versions import VersionPolicy

EXTENSIONS = (
    "classification",
    "model_configuration",
    "model_repository",
    "schedule_policy",
    "statistics",
    "system_shared_memory",
)
"""Triton's names for what is spoken beyond KServe's own calls."""


def model_metadata(served: ServedModel, versions: Iterable[int]) -> pb.ModelMetadataResponse:
    """Describe what a model takes and gives.

    Args:
        served: The model.
        versions: Of it, that are served.
    """
    tensor, manifest = pb.ModelMetadataResponse.TensorMetadata, served.manifest
    return pb.ModelMetadataResponse(
        name=manifest.name,
        versions=[str(version) for version in versions],
        platform=_platform(served),
        inputs=[
            tensor(name=manifest.input.name, datatype="UINT8", shape=[-1, *manifest.input.shape])
        ],
        outputs=[
            tensor(name=output.name, datatype="FP32", shape=[-1, *output.shape])
            for output in manifest.outputs
        ],
    )


def model_config(served: ServedModel, versions: VersionPolicy, max_rows: int) -> pb.ModelConfig:
    """Describe how a model is batched.

    Args:
        served: The model.
        versions: Which of its versions are served.
        max_rows: Most snippets in one request.
    """
    manifest = served.manifest
    return pb.ModelConfig(
        name=manifest.name,
        platform=_platform(served),
        backend=served.model.backend,
        version_policy=_version_policy(versions),
        # Clients send so many rows at most, which must be allowed, and should fit one batch.
        max_batch_size=min(served.max_batch_size, max_rows),
        input=[_config_input(manifest.input)],
        output=[_config_output(output) for output in manifest.outputs],
        dynamic_batching=_dynamic_batching(served.policy),
    )


def model_statistics(served: ServedModel) -> pb.ModelStatistics:
    """Tell what was counted of a model since it was loaded."""
    counted = served.statistics
    return pb.ModelStatistics(
        name=served.manifest.name,
        version=str(served.manifest.version),
        last_inference=counted.last_ms,
        inference_count=counted.compute.count,
        execution_count=counted.executions,
        inference_stats=_inference_statistics(counted),
        batch_stats=[
            pb.InferBatchStatistics(batch_size=size, compute_infer=_duration(tally))
            for size, tally in sorted(counted.by_batch_size.items())
        ],
    )


def _inference_statistics(counted: ModelStatistics) -> pb.InferStatistics:
    return pb.InferStatistics(
        success=_duration(counted.success),
        fail=_duration(counted.fail),
        queue=_duration(counted.queue),
        compute_infer=_duration(counted.compute),
    )


def _duration(tally: Tally) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=tally.count, ns=max(0, tally.ns))


def _platform(served: ServedModel) -> str:
    return f"tsnd_{served.model.backend}"


def _config_input(spec: model_pb2.TensorSpec) -> pb.ModelInput:
    return pb.ModelInput(name=spec.name, data_type=pb.TYPE_UINT8, dims=spec.shape)


def _config_output(spec: model_pb2.TensorSpec) -> pb.ModelOutput:
    return pb.ModelOutput(name=spec.name, data_type=pb.TYPE_FP32, dims=spec.shape)


def _dynamic_batching(policy: BatchPolicy) -> pb.ModelDynamicBatching:
    return pb.ModelDynamicBatching(
        preferred_batch_size=policy.preferred_batch_sizes,
        max_queue_delay_microseconds=policy.max_queue_delay_us,
        preserve_ordering=True,
        priority_levels=PRIORITIES,
        default_priority_level=NORMAL + 1,  # Triton counts from 1
    )


def _version_policy(policy: VersionPolicy) -> pb.ModelVersionPolicy:
    kinds = pb.ModelVersionPolicy
    if policy.latest is not None:
        return kinds(latest=kinds.Latest(num_versions=policy.latest))
    if policy.specific is not None:
        return kinds(specific=kinds.Specific(versions=sorted(policy.specific)))
    return kinds(all=kinds.All())
