"""The KServe v2 protocol, as far as the daemon speaks it (generated from the proto)."""
