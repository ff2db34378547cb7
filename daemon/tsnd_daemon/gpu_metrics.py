"""Memory and utilisation of the GPUs, asked of NVIDIA's driver when Prometheus scrapes."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pynvml
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

logger = logging.getLogger(__name__)

_GPU = ("gpu",)


@contextmanager
def gpu_metrics(registry: CollectorRegistry) -> Iterator[None]:
    """Report GPUs for a while, where there are any; a driver that fails costs no scrape.

    Args:
        registry: Where they are scraped from.
    """
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as err:
        logger.debug("no metrics of GPUs: %s", err)
        yield
        return
    collector = _GpuCollector()
    registry.register(collector)
    try:
        yield
    finally:
        registry.unregister(collector)
        pynvml.nvmlShutdown()


class _GpuCollector(Collector):
    """GPUs by their number, as nvidia-smi and NVML count them."""

    def collect(self) -> Iterable[Metric]:
        used, memory, utilisation = families = _families()
        try:
            for index in range(pynvml.nvmlDeviceGetCount()):
                handle = pynvml.nvmlDeviceGetHandleByIndex(index)
                found = pynvml.nvmlDeviceGetMemoryInfo(handle)
                used.add_metric([str(index)], found.used)
                memory.add_metric([str(index)], found.total)
                busy = pynvml.nvmlDeviceGetUtilizationRates(handle).gpu
                utilisation.add_metric([str(index)], busy / 100)
        except pynvml.NVMLError as err:  # a GPU that has fallen off the bus, for example
            logger.warning("the driver does not tell about its GPUs: %s", err)
        return families

    def describe(self) -> Iterable[Metric]:
        return _families()


def _families() -> tuple[GaugeMetricFamily, GaugeMetricFamily, GaugeMetricFamily]:
    return (
        GaugeMetricFamily(
            "tsnd_gpu_memory_used_bytes", "Memory of a GPU in use, by whomever.", labels=_GPU
        ),
        GaugeMetricFamily("tsnd_gpu_memory_bytes", "Memory of a GPU.", labels=_GPU),
        GaugeMetricFamily(
            "tsnd_gpu_utilisation_ratio",
            "Part of the last second or less in which a GPU computed anything.",
            labels=_GPU,
        ),
    )
