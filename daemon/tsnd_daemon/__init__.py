"""The daemon `tsnd`: scores snippets from many video streams in dynamic batches over gRPC."""
