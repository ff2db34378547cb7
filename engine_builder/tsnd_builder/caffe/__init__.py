"""Reads Caffe networks: text and binary files into one typed, single-assignment graph."""
