"""Finds the model that a request names, in the words of KServe: versions are texts."""

from tsnd_daemon.errors import InvalidRequest
from tsnd_daemon.security.callers import current_caller
from tsnd_daemon.serving.catalogue import Catalogue
from tsnd_daemon.serving.served_model import ServedModel

_MAX_DIGITS = 9
_NO_MODALITY = 0


def find(catalogue: Catalogue, name: str, version: str) -> ServedModel:
    """Return a model.

    Args:
        catalogue: Of what is served.
        name: The model's.
        version: A decimal number; empty is the newest that is served.

    Raises:
        Forbidden: When the caller may not use it.
        InvalidRequest: When the version is no number, or the name is that of a pair.
        ModelNotFound: When there is no such model or version.
    """
    current_caller().require_model(name)
    if pair := catalogue.models_of_pair(name):
        raise InvalidRequest(
            f"{name!r} is the pair of {' and '.join(pair)}, and a request of this protocol does "
            "not say which of them its snippets are for. Name one of the two."
        )
    return catalogue.find(name, read_version(version), _NO_MODALITY)


def find_all(catalogue: Catalogue, name: str, version: str) -> list[ServedModel]:
    """Return certain models.

    Args:
        catalogue: Of what is served.
        name: A model's; empty means all of them.
        version: A decimal number; empty means all that are served.

    Raises:
        InvalidRequest: As `find`; also for a version of all models.
        ModelNotFound: As `find`.
    """
    if name:
        found = find(catalogue, name, version)
        if version:
            return [found]
        return [model for model in catalogue.served() if model.manifest.name == name]
    if version:
        raise InvalidRequest(f"version {version[:32]!r} of which model? Send its name, too.")
    may_use = current_caller().may_use
    return [model for model in catalogue.served() if may_use(model.manifest.name)]


def read_version(text: str) -> int:
    """Read a version; empty is 0, the newest.

    Raises:
        InvalidRequest: When it is no number from 1.
    """
    if not text:
        return 0
    if not (text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS and int(text)):
        raise InvalidRequest(
            f"model version {text[:32]!r}: expected a number from 1, or nothing for the newest "
            "that is served."
        )
    return int(text)
