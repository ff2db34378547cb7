"""Optical flow as TSN means it: computed, quantised to bytes, stored and stacked."""
