"""The KServe v2 service with Triton's extensions: message to snippets to futures to message."""
