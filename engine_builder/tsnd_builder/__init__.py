"""Offline program `tsn-build`: Caffe models of TSN in, ONNX graphs and model packages out."""
