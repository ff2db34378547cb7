"""How a path appears in a message, whatever its name is made of."""

from pathlib import PurePath


def shown(path: PurePath | str) -> str:
    """Return a path as text that a terminal can show and any encoding can hold.

    A name may have line ends, escape sequences or bytes that are not UTF-8 (which Python
    keeps as lone surrogates, and cannot print); those appear as escapes, in quotes.
    """
    text = str(path)
    return text if text.isprintable() else repr(text)
