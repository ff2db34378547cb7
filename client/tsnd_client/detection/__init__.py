"""Temporal action detection from the outputs of snippets: pure NumPy."""

from tsnd_client.detection.detection import Detection

__all__ = ["Detection"]
