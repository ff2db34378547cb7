"""The architectures of TSN as Caffe deploy nets, each written from one small table."""
