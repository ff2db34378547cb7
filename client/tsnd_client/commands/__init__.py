"""The commands of `tsn`, one a file: what each is asked with, and what it then does.

To describe a command line must take no time, so what a command works with is imported when it
is run.
"""
