"""Fixtures for all tests: a repository of tiny model packages, built once."""

import signal
from pathlib import Path

import hypothesis
import pytest

from tests.builders import write_tiny_caffe_model
from tsnd_builder import commands
from tsnd_builder.layers.batch_norm import BNStorage
from tsnd_builder.serving_graph import Modality

# Shells start background jobs deaf to Ctrl-C, and so would be the programs that tests
# start in order to interrupt them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes is the machine's doing, which may be busy with other things.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

TINY_CHANNELS = {Modality.RGB: 3, Modality.FLOW: 10}


@pytest.fixture(scope="session")
def tiny_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with `tiny_rgb` (16 x 21 frames) and `tiny_flow`, five classes each."""
    repository = tmp_path_factory.mktemp("repository")
    for modality, channels in TINY_CHANNELS.items():
        folder = tmp_path_factory.mktemp(f"caffe-{modality}")
        prototxt, weights, labels = write_tiny_caffe_model(folder, channels=channels)
        commands.build(
            commands.CaffeFiles(prototxt, weights, BNStorage.VARIANCE),
            labels=labels,
            name=f"tiny_{modality}",
            modality=modality,
            crops=10,
            frame_size=None,
            repository=repository,
        )
    return repository
