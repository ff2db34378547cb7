"""Builds and runs plans: serialized engines of TensorRT and TensorRT-RTX."""
