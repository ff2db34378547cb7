"""Caffe's file formats, as far as they are read here (generated from net.proto)."""
