"""Dense outputs of videos, for detectors: the stores that they are kept in.

What needs h5py, pyarrow or zarr is imported when its format is asked for.
"""
