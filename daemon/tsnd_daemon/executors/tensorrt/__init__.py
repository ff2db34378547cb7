"""Runs plans with TensorRT or TensorRT-RTX on one GPU, through PyCUDA.

    executor ──► slots ──► PyCUDA
       │           └─────► engine    what is used of an engine; a stand-in has the same
       ├──► device         driver, GPU and CUDA context
       └──► library        loads TensorRT and plans; checks says which fit

Everything belongs to the executor's thread: a thread has its own stack of CUDA contexts.
PyCUDA is imported here alone, and TensorRT in library.py alone; both when first needed.
"""
