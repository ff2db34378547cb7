"""One file per Caffe layer type: its shapes, its blobs and its ONNX form."""
