"""Whole videos through a daemon: which snippets, how they are read, what becomes of them.

videos ──► readers (threads) ──► a channel per modality ──► a stream per modality ──► outcomes
"""
