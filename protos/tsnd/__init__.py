"""Contracts of tsnd: messages between programs and formats of files."""
