"""The model registry: versions and aliases in the topic `millrace.models`, files in the blob store."""

import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from millrace.core.errors import RequestError
from millrace.kafka.admin import Admin
from millrace.kafka.control import ControlView
from millrace.kafka.control_writer import CONTROL_TOPICS, MODELS_TOPIC, Applied, Change, ControlWriter, Put, Tables
from millrace.process.settings import KafkaSettings
from millrace.serving.admission import TrialBounds, admit, sniff_file
from millrace.serving.bundle import MANIFEST, Bundle, attach_transform, copy_bundle, open_bundle
from millrace.serving.catalogue import (
    Candidate,
    Entry,
    Evaluated,
    EvaluationEntry,
    LatencyEntry,
    Reference,
    Table,
    VersionEntry,
    add_version,
    aliases,
    curves,
    evaluations,
    move_alias,
    read_entry,
    resolve,
    swap_aliases,
    versions,
)
from millrace.serving.shelf import Shelf
from millrace.serving.transforms import TransformEntry, add_transform, resolve_transform
from millrace.transform import Program


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Registry:
    """Reads and writes the registry. Not thread-safe; close it, or use it in a `with`.

    Connects when it is first asked something. Every method may raise TransientError when the broker or the blob store
    cannot be reached, and FatalError when the broker refuses this client.

    Args:
        kafka: The cluster.
        shelf: Where bundles are kept.
        who: Whom the history names for changes.
        now: The clock of `pushed_at`.
    """

    def __init__(self, kafka: KafkaSettings, shelf: Shelf, *, who: str, now: Callable[[], datetime] = _utc_now) -> None:
        self.shelf: Final = shelf
        self._kafka = kafka
        self._who = who
        self._now = now
        self._view: ControlView | None = None

    def table(self) -> Table:
        """Everything that was committed before this call; `millrace.serving.catalogue` reads it."""
        return self._opened().refresh()

    def follow(self, on_change: Callable[[Table], None]) -> None:
        """Call with the new table, from another thread, whenever a model or an alias changes, until `close`."""
        view = self._opened()
        view.follow(lambda _: on_change(view.table))

    def versions(self, name: str | None = None) -> tuple[VersionEntry, ...]:
        """All versions, of one model or of all, by name and number."""
        return versions(self.table(), name)

    def aliases(self, name: str) -> dict[str, int]:
        """The version that each alias of a model names."""
        return aliases(self.table(), name)

    def resolve(self, reference: str) -> VersionEntry:
        """The version that a reference means now.

        Raises:
            RequestError: There is no such model, alias or version; says which there are.
        """
        return resolve(self.table(), reference)

    def open(self, reference: str) -> tuple[VersionEntry, Bundle]:
        """The version that a reference means now, and its bundle, fetched if it is not here yet.

        Raises:
            RequestError: There is no such version, or the blob store does not have it.
        """
        entry = self.resolve(reference)
        return entry, self.shelf.take(entry.digest)

    def push(self, path: Path, bounds: TrialBounds | None = None, *, transform: str | None = None) -> VersionEntry:
        """Admit a bundle, store it and make it the next version of its model. Takes seconds.

        The first version becomes the champion. The same bundle pushed again is the same version. The transform of a
        bundle becomes a version of its name, unless it is one.

        Args:
            path: The bundle's folder.
            bounds: Of the trial.
            transform: Reference of the transform that the model was trained with, where the bundle does not say it.

        Raises:
            ModelRefusedError: The model is not admitted; the reason is from a closed list.
            RequestError: The path is no bundle, or there is no such transform, or it does not make the features.
        """
        if path.is_file():
            sniff_file(path)
            raise RequestError(
                f"{path} is a model without a manifest",
                remedy="make a bundle of it: millrace.serving.export.export(onnx.load(path), sample, ...)",
            )
        program = None if transform is None else resolve_transform(self.table(), transform).open()
        with tempfile.TemporaryDirectory(prefix="millrace-push-") as folder:
            bundle = _admitted_copy(path, Path(folder), bounds, program)
            self.shelf.put(bundle)
            size = sum(entry.bytes for entry in bundle.files.values())
            candidate = Candidate(bundle.manifest, bundle.digest, size)
        return self._apply(
            candidate.manifest.name, "push version", partial(_push, candidate, bundle.program, self._now())
        )

    def set_alias(self, alias: str, reference: str) -> VersionEntry:
        """Let an alias of a model name the version that a reference means now; scorers that follow it switch.

        Raises:
            RequestError: The version does not exist, or this is no name for an alias.
        """
        wanted = Reference.parse(reference)
        return self._apply(wanted.name, "move alias", partial(_alias, alias, wanted))

    def swap_aliases(
        self, name: str, *, expected: Mapping[str, int | None], wanted: Mapping[str, int | None], what: str, why: str
    ) -> bool:
        """Let aliases name other versions, or none, unless somebody has moved them away from what was expected.

        All of them or none. Doing it again changes nothing, so a caller that does not know the outcome asks again.

        Args:
            name: The model.
            expected: What the decision was made on: the version of each alias, None for an alias that names none.
            wanted: What they shall name.
            what: The action, for the history.
            why: The reason, for the history.

        Returns:
            Whether the aliases are as wanted.

        Raises:
            RequestError: A version that is wanted does not exist.
        """

        def decide(tables: Tables) -> Change[dict[str, Any]]:
            swapped = swap_aliases(tables[MODELS_TOPIC], name, expected=expected, wanted=wanted)
            entries = (swapped or {}).items()
            puts = [Put(MODELS_TOPIC, key, None if entry is None else _document(entry)) for key, entry in entries]
            return Change(puts, {"is_as_wanted": swapped is not None, "why": why})

        return bool(self._carry_out(name, what, decide).outcome["is_as_wanted"])

    def curves(self, entry: VersionEntry) -> dict[str, dict[str, Any]]:
        """The latency curves of a version by device, as `LatencyCurve.to_dict` wrote them."""
        return curves(self.table(), entry)

    def save_curve(self, entry: VersionEntry, device: str, curve: Mapping[str, object]) -> None:
        """Keep a latency curve, so that the next replica starts warm. The last one to save wins."""
        document = LatencyEntry(name=entry.name, version=entry.version, device=device, curve=dict(curve))
        with ControlWriter(self._kafka, who=self._who, topics=(MODELS_TOPIC,)) as writer:
            writer.apply(f"latency/{document.key}", "save latency curve", lambda _: Change(_puts(document), None))

    def evaluations(self, entry: VersionEntry) -> tuple[EvaluationEntry, ...]:
        """The evaluations of a version, oldest first."""
        return evaluations(self.table(), entry)

    def save_evaluation(
        self, entry: VersionEntry, evaluated: Evaluated, *, experiment: str, dataset: str
    ) -> EvaluationEntry:
        """Keep an evaluation beside a version, which stays as it is. The same rows again take its place.

        Args:
            entry: The version that scored the rows.
            evaluated: What came of it.
            experiment: What it belongs to.
            dataset: What the rows are called.

        Raises:
            RequestError: The experiment or the rows have no name as one is written.
        """
        document = {
            "name": entry.name,
            "version": entry.version,
            "experiment": experiment,
            "dataset": dataset,
            "digest": evaluated.digest,
            "rows": evaluated.rows,
            "metrics": evaluated.metrics,
            "who": self._who,
            "evaluated_at": self._now(),
        }
        kept = read_entry(EvaluationEntry, document, key=f"{entry.key}#evaluation")
        self._carry_out(entry.name, "add evaluation", lambda _: Change(_puts(kept), _document(kept)))
        return kept

    def close(self) -> None:
        """Let go of the connections. Twice is as good as once."""
        if self._view is not None:
            self._view.close()
            self._view = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _opened(self) -> ControlView:
        if self._view is None:
            try:
                self._view = ControlView(self._kafka, MODELS_TOPIC)
            except RequestError:  # the first who ever asks
                Admin(self._kafka).ensure_topics([spec for spec in CONTROL_TOPICS if spec.name == MODELS_TOPIC])
                self._view = ControlView(self._kafka, MODELS_TOPIC)
        return self._view

    def _apply(self, name: str, what: str, decide: Callable[[Tables], Change[dict[str, Any]]]) -> VersionEntry:
        return VersionEntry.model_validate(self._carry_out(name, what, decide).outcome, strict=False)

    def _carry_out(
        self, name: str, what: str, decide: Callable[[Tables], Change[dict[str, Any]]]
    ) -> Applied[dict[str, Any]]:
        with ControlWriter(self._kafka, who=self._who, topics=(MODELS_TOPIC,)) as writer:
            applied: Applied[dict[str, Any]] = writer.apply(f"model/{name}", what, decide)
        if MODELS_TOPIC in applied.next_offsets:
            self._opened().wait_for(applied.next_offsets[MODELS_TOPIC] - 1)
        return applied


def _push(candidate: Candidate, program: Program | None, pushed_at: datetime, tables: Tables) -> Change[dict[str, Any]]:
    entry, documents = add_version(tables[MODELS_TOPIC], candidate, pushed_at)
    puts = _puts(*documents)
    if program is not None:
        transform, is_new = add_transform(tables[MODELS_TOPIC], program, pushed_at)
        puts += _puts(transform) if is_new else []
    return Change(puts, _document(entry))


def _alias(alias: str, reference: Reference, tables: Tables) -> Change[dict[str, Any]]:
    table = tables[MODELS_TOPIC]
    moved = move_alias(table, alias, reference)
    unchanged = aliases(table, moved.name).get(moved.alias) == moved.version
    return Change(() if unchanged else _puts(moved), _document(resolve(table, reference)))


def _admitted_copy(source: Path, folder: Path, bounds: TrialBounds | None, program: Program | None) -> Bundle:
    """A private copy of a bundle, with its transform, and with what admission found written into its manifest."""
    copy_bundle(source, folder)
    bundle = open_bundle(folder)
    if program is not None:
        bundle = attach_transform(bundle, program)
    invariance = admit(bundle, bounds)
    if invariance == bundle.manifest.invariance:
        return bundle
    (folder / MANIFEST).write_bytes(bundle.manifest.model_copy(update={"invariance": invariance}).to_json())
    return open_bundle(folder)


def _puts(*entries: Entry | TransformEntry) -> list[Put]:
    return [Put(MODELS_TOPIC, entry.key, _document(entry)) for entry in entries]


def _document(entry: Entry | TransformEntry) -> dict[str, Any]:
    return entry.model_dump(mode="json", exclude_none=True)
