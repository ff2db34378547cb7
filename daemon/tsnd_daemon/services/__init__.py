"""The gRPC services: message to snippet to future to message; no batching, no arrays."""
