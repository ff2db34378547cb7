"""Snippets and scores as bytes: read and written by hand where that pays."""
