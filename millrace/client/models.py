"""Models: push, list, show, alias, promote, roll back."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from millrace.client.champions import previous_champion
from millrace.client.handovers import HandoverWatch
from millrace.client.identity import who_am_i
from millrace.kafka.history import read_history
from millrace.process.settings import KafkaSettings, Settings
from millrace.serving.catalogue import CHALLENGER, CHAMPION, EvaluationEntry, VersionEntry, aliases
from millrace.serving.manifest import Manifest
from millrace.serving.registry import Registry
from millrace.serving.shelf import Shelf


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A version of a model, and the aliases that name it.

    Attributes:
        entry: What the registry says about it.
        aliases: Names that mean it, such as `champion`.
    """

    entry: VersionEntry
    aliases: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """The version as JSON values."""
        return {**self.entry.model_dump(mode="json", exclude_none=True), "aliases": list(self.aliases)}


@dataclass(frozen=True, slots=True)
class ModelDetails:
    """Everything that is known of a version.

    Attributes:
        version: The version and its aliases.
        manifest: What its bundle says.
        curves: What micro-batches of it cost, by device.
        evaluations: How good it was on held-out rows, oldest first.
    """

    version: ModelVersion
    manifest: Manifest
    curves: Mapping[str, Mapping[str, Any]]
    evaluations: tuple[EvaluationEntry, ...] = ()

    def document(self) -> dict[str, Any]:
        """The details as JSON values."""
        manifest = self.manifest.model_dump(mode="json", exclude_none=True)
        evaluations = [each.model_dump(mode="json") for each in self.evaluations]
        devices = sorted(self.curves)
        return {**self.version.document(), "manifest": manifest, "devices": devices, "evaluations": evaluations}


class Models:
    """The models of a cluster.

    Every method may raise TransientError when the broker or the blob store cannot be reached, and FatalError when the
    broker refuses this client.

    Args:
        kafka: The cluster.
        settings: Where model files are kept; by default as the environment says.
        who: Whom the history names; the user of this process where absent.
    """

    def __init__(self, kafka: KafkaSettings, settings: Settings | None = None, *, who: str | None = None) -> None:
        self._kafka = kafka
        self._settings = settings
        self._who = who

    def push(self, bundle: Path, *, alias: str | None = None, transform: str | None = None) -> ModelVersion:
        """Admit a bundle and make it the next version of its model. Blocks for seconds, while the model is tried.

        The first version becomes the champion. The same bundle pushed again is the same version.

        Args:
            bundle: The bundle's folder.
            alias: A name that shall mean the new version, such as `challenger`.
            transform: `name/3`, or `name` for its newest version: what the model was trained with, which all doors will
                apply to records; not needed for a bundle that has its own.

        Raises:
            RequestError: The path is no bundle, the model is refused, or the transform does not make its features.
        """
        with self._registry() as registry:
            entry = registry.push(bundle, transform=transform)
            if alias is not None:
                entry = registry.set_alias(alias, entry.key)
            return _named(registry, entry)

    def list(self, name: str | None = None) -> tuple[ModelVersion, ...]:
        """All versions, of one model or of all, by name and number."""
        with self._registry() as registry:
            table = registry.table()
            return tuple(_version(entry, aliases(table, entry.name)) for entry in registry.versions(name))

    def show(self, reference: str) -> ModelDetails:
        """Everything that is known of the version that a reference means.

        Raises:
            RequestError: There is no such version, or the blob store does not have its files.
        """
        with self._registry() as registry:
            entry, bundle = registry.open(reference)
            curves, evaluations = registry.curves(entry), registry.evaluations(entry)
            return ModelDetails(_named(registry, entry), bundle.manifest, curves, evaluations)

    def set_alias(self, alias: str, reference: str) -> ModelVersion:
        """Let an alias name the version that a reference means; scorers that follow the alias switch.

        Raises:
            RequestError: There is no such version, or this is no name for an alias.
        """
        with self._registry() as registry:
            return _named(registry, registry.set_alias(alias, reference))

    def promote(self, reference: str) -> ModelVersion:
        """Make a version the champion; scorers switch between two micro-batches. It is a challenger no longer.

        Args:
            reference: `name/3` or `name@alias`; a bare name means its challenger.

        Raises:
            RequestError: There is no such version or no challenger.
        """
        wanted = reference if {"@", "/"} & set(reference) else f"{reference}@{CHALLENGER}"
        with self._registry() as registry:
            return _crown(registry, registry.resolve(wanted), what="promote", over=None)

    def rollback(self, name: str) -> ModelVersion:
        """Make the version the champion that was it before the current one, which shall not be tried again.

        Raises:
            RequestError: There is no such model, or no other version ever was its champion.
        """
        with self._registry() as registry:
            current = registry.resolve(f"{name}@{CHAMPION}").version
            records = read_history(self._kafka, subject=f"model/{name}")
            previous = previous_champion((record.entry for record in records), name, current)
            return _crown(registry, registry.resolve(f"{name}/{previous}"), what="roll back", over=current)

    def handover(self, name: str) -> HandoverWatch:
        """A watch on the scorers of a model, to be made before its champion is changed.

        Raises:
            RequestError: There is no such model, or it has no champion.
        """
        with self._registry() as registry:
            return HandoverWatch(self._kafka, name, registry.resolve(f"{name}@{CHAMPION}").version)

    def _registry(self) -> Registry:
        return Registry(self._kafka, Shelf.of(self._settings or Settings.load()), who=self._who or who_am_i())


def version_in(document: Mapping[str, Any]) -> ModelVersion:
    """The version that `ModelVersion.document` wrote."""
    known = {name: document[name] for name in VersionEntry.model_fields if name in document}
    return ModelVersion(VersionEntry.model_validate_json(json.dumps(known)), tuple(document["aliases"]))


def details_in(document: Mapping[str, Any]) -> ModelDetails:
    """The details that `ModelDetails.document` wrote; of the costs, the devices alone."""
    manifest = Manifest.model_validate_json(json.dumps(document["manifest"]))
    evaluations = tuple(
        EvaluationEntry.model_validate_json(json.dumps(each)) for each in document.get("evaluations", ())
    )
    return ModelDetails(version_in(document), manifest, {device: {} for device in document["devices"]}, evaluations)


def _crown(registry: Registry, entry: VersionEntry, *, what: str, over: int | None) -> ModelVersion:
    """Let `champion` name the version, and `challenger` neither it nor the one it follows: no rollout comes of it."""
    wanted: dict[str, int | None] = {CHAMPION: entry.version}
    if registry.aliases(entry.name).get(CHALLENGER) in {entry.version, over}:
        wanted[CHALLENGER] = None
    registry.swap_aliases(entry.name, expected={}, wanted=wanted, what=what, why="asked for")
    return _named(registry, entry)


def _named(registry: Registry, entry: VersionEntry) -> ModelVersion:
    return _version(entry, registry.aliases(entry.name))


def _version(entry: VersionEntry, named: Mapping[str, int]) -> ModelVersion:
    return ModelVersion(entry, tuple(sorted(alias for alias, version in named.items() if version == entry.version)))
