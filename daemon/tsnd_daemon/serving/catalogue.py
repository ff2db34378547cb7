"""What is served at the moment, and which of it a snippet is for."""

import logging
from collections.abc import Iterable, Mapping

from tsnd.v1 import model_pb2 as pb
from tsnd.v1 import snippets_pb2
from tsnd_daemon.errors import InvalidSnippet, ModelNotFound
from tsnd_daemon.serving.served_model import ServedModel

logger = logging.getLogger(__name__)

_MODALITIES: Mapping[int, str] = {pb.MODALITY_RGB: "rgb", pb.MODALITY_FLOW: "flow"}


class Catalogue:
    """The models that take traffic, by name and version, and the pairs of them."""

    def __init__(self, pairs: Mapping[str, Iterable[str]]) -> None:
        """Make an empty one.

        Args:
            pairs: The two models that each pair's name stands for.
        """
        self._pairs = {name: tuple(models) for name, models in pairs.items()}
        self._served: dict[str, dict[int, ServedModel]] = {}

    def names(self) -> set[str]:
        """Return the names of all models."""
        return set(self._served)

    def versions(self, name: str) -> list[int]:
        """Return the versions of a model, in ascending order."""
        return sorted(self._served.get(name, {}))

    def models_of_pair(self, name: str) -> tuple[str, ...]:
        """Return the names of the models that a pair's name stands for; none for other names."""
        return self._pairs.get(name, ())

    def put(self, served: ServedModel) -> None:
        """Give a model traffic from now on, in place of what had its name and version."""
        versions = self._served.setdefault(served.manifest.name, {})
        if versions:
            _warn_of_change(versions[max(versions)].manifest, served.manifest)
        versions[served.manifest.version] = served

    def drop(self, name: str, version: int) -> None:
        """Give a model no more traffic."""
        del self._served[name][version]
        if not self._served[name]:
            del self._served[name]

    def find(self, name: str, version: int, modality: int) -> ServedModel:
        """Return the model that a snippet is for.

        Args:
            name: Of a model, or of a pair.
            version: 0 is the newest that is served.
            modality: The snippet's; chooses among a pair.

        Raises:
            ModelNotFound: When there is none.
            InvalidSnippet: When the modality says nothing about which of a pair is meant.
        """
        if name in self._pairs:
            name = self._of_pair(name, modality)
        versions = self._served.get(name)
        if not versions:
            known = ", ".join(sorted({*self._served, *self._pairs}))
            raise ModelNotFound(f"there is no model {name[:128]!r} here; there are {known}.")
        served = versions.get(version or max(versions))
        if served is None:
            raise ModelNotFound(
                f"model {name!r} has version {', '.join(map(str, sorted(versions)))} here, not "
                f"{version}. Send 0 for the newest that is served."
            )
        return served

    def served(self) -> list[ServedModel]:
        """Return all models and versions, by name and version."""
        return [
            versions[version]
            for _, versions in sorted(self._served.items())
            for version in sorted(versions)
        ]

    def pairs(self) -> list[snippets_pb2.Pair]:
        """Return the pairs both models of which are served."""
        found = []
        for name in sorted(self._pairs):
            by_modality = self.by_modality(name)
            if len(by_modality) == 2:
                rgb, flow = (by_modality[m] for m in sorted(by_modality))
                found.append(snippets_pb2.Pair(name=name, rgb_model=rgb, flow_model=flow))
        return found

    def _of_pair(self, name: str, modality: int) -> str:
        by_modality = self.by_modality(name)
        if modality in by_modality:
            return by_modality[modality]
        pair = f"{name!r} is the pair of {' and '.join(self._pairs[name])}"
        if modality in _MODALITIES:
            raise ModelNotFound(
                f"{pair}, and its {_MODALITIES[modality]} model is not served at the moment. "
                "ListModels tells what is."
            )
        raise InvalidSnippet(
            f"{pair}: the modality of a snippet chooses between them, and this one's is "
            f"{modality}. Send rgb (1) or flow (2)."
        )

    def by_modality(self, pair: str) -> dict[int, str]:
        """Return the served models of a pair."""
        return {
            self._served[name][max(self._served[name])].manifest.modality: name
            for name in self._pairs[pair]
            if name in self._served
        }


def _warn_of_change(before: pb.ModelManifest, after: pb.ModelManifest) -> None:
    """Say when clients of a model may notice that another version answers them."""
    if before.input != after.input or before.outputs != after.outputs:
        logger.warning(
            "model %s version %d has other inputs or outputs than version %d; clients that send "
            "for version 0 get it",
            after.name,
            after.version,
            before.version,
        )
