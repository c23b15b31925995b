"""The models of a deployment, as the registry names them: loaded in the background, taken over between batches."""

import threading
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

import structlog

from millrace.core.batching import Costs
from millrace.core.cost import BUCKETS, LatencyCurve, backoff
from millrace.core.errors import MillraceError, RequestError, TransientError
from millrace.process.deployment import Deployment
from millrace.serving.catalogue import Table, VersionEntry, curves, resolve
from millrace.serving.loading import LoadedModel, LoadOptions, load
from millrace.serving.registry import Registry
from millrace_scorer.logic.ports import Scoring

log = structlog.get_logger()

_SAVE_EVERY: Final = timedelta(minutes=1)
_WORTH_SAVING: Final = 1.25
"""A curve is stored again when it predicts for some size a duration that differs by more than this factor."""
_FIRST_RETRY: Final = timedelta(milliseconds=500)
_LONGEST_RETRY: Final = timedelta(seconds=30)


class Compile(Protocol):
    """Makes a loaded model score the records of the deployment's stream."""

    def __call__(self, model: LoadedModel, costs: Costs, *, degraded: bool) -> Scoring:
        """Compile decoders and encoders for the model.

        Raises:
            RequestError: The stream's format cannot carry the model's features.
        """
        ...


class OnSwap(Protocol):
    """Is told, on the loop's thread, which version scores from now on."""

    def __call__(self, name: str, version: int, digest: str) -> None:
        """This version scores from now on."""
        ...


@dataclass(frozen=True, slots=True)
class _Served:
    entry: VersionEntry
    model: LoadedModel
    scoring: Scoring


class ServedModels:
    """The champion, and the variant where there is one. See `millrace_scorer.logic.ports.Models`.

    `current` and `variant` belong to the loop's thread. A reference that names an alias is followed: when the alias
    moves, the new version is fetched, loaded and warmed on another thread, and the next call of `current` takes it
    over. A version that cannot be loaded changes nothing; the log says why.

    Args:
        registry: Where models are; outlives this object.
        deployment: Which models, and what they may use.
        compile: Makes a loaded model score the stream's records.
        on_swap: Told of each version that takes over, the first one included.

    Raises:
        RequestError: There is no such model, or it does not fit the deployment.
        TransientError: The broker or the blob store is away.
    """

    def __init__(self, registry: Registry, deployment: Deployment, compile: Compile, on_swap: OnSwap) -> None:  # noqa: A002 - what it does
        self._registry = registry
        self._deployment = deployment
        self._compile = compile
        self._on_swap = on_swap
        table = registry.table()
        self._current = self._load(table, resolve(table, deployment.model), degraded=False)
        self._variant = self._load_variant(table)
        self._next: _Served | None = None
        self._wanted: Table | None = None
        self._closing = False
        self._news = threading.Condition()
        self._saved = _predictions(self._current.scoring.costs)
        on_swap(self._current.model.name, self._current.entry.version, self._current.entry.digest)
        registry.follow(self._changed)
        self._loader = threading.Thread(target=self._follow, name="model-loader", daemon=True)
        self._loader.start()

    def current(self) -> Scoring:
        """The model that scores now; takes over the next one if it is ready."""
        following = self._next
        if following is not None:
            self._next = None
            before, self._current = self._current, following
            self._on_swap(following.model.name, following.entry.version, following.entry.digest)
            before.model.close()
        return self._current.scoring

    def variant(self) -> Scoring | None:
        """The cheaper model for times of overload."""
        return None if self._variant is None else self._variant.scoring

    def close(self) -> None:
        """Keep what was learned, stop following, release the models."""
        with self._news:
            self._closing = True
            self._news.notify()
        self._loader.join()
        for served in (self._current, self._variant, self._next):
            if served is not None:
                served.model.close()

    def _changed(self, table: Table) -> None:
        with self._news:
            self._wanted = table
            self._news.notify()

    def _follow(self) -> None:
        """Load what the registry names, again after transient failures; keep curves now and then."""
        table: Table | None = None
        attempt = 0
        while True:
            wait = backoff(attempt, first=_FIRST_RETRY, longest=_LONGEST_RETRY) if attempt else _SAVE_EVERY
            with self._news:
                if not self._closing and self._wanted is None:
                    self._news.wait(wait.total_seconds())
                if self._wanted is not None:
                    table, self._wanted, attempt = self._wanted, None, 0
                if self._closing:
                    break
            if table is None:
                self._save_curves()
            elif self._has_followed(table, attempt + 1):
                table, attempt = None, 0
            else:
                attempt += 1
        self._save_curves()

    def _has_followed(self, table: Table, attempt: int) -> bool:
        """Prepare what `table` names. False where trying again may help."""
        try:
            entry = resolve(table, self._deployment.model)
            serving = (self._next or self._current).entry
            if (entry.version, entry.digest) != (serving.version, serving.digest):
                self._next = self._load(table, entry, degraded=False)
        except TransientError as error:
            log.warning("new model version not loaded yet", reason=error.message, attempt=attempt)
            return False
        except MillraceError as error:
            log.error("new model version refused; the old one scores on", reason=error.message, remedy=error.remedy)
        return True

    def _load(self, table: Table, entry: VersionEntry, *, degraded: bool) -> _Served:
        runtime = self._deployment.runtime
        options = LoadOptions(runtime.providers, runtime.threads, runtime.python_functions)
        model = load(self._registry.shelf.take(entry.digest), version=entry.version, options=options)
        learned = curves(table, entry).get(model.runtime.device, {})
        quantile = self._deployment.slo.quantile
        costs = Costs(
            LatencyCurve.from_dict(learned.get("score", {}), quantile=quantile),
            LatencyCurve.from_dict(learned.get("commit", {}), quantile=quantile),
        )
        return _Served(entry, model, self._compile(model, costs, degraded=degraded))

    def _load_variant(self, table: Table) -> _Served | None:
        reference = self._deployment.overload.variant
        if reference is None:
            return None
        variant = self._load(table, resolve(table, reference), degraded=True)
        ours, theirs = self._current.model.signature, variant.model.signature
        if (ours.features, ours.task, ours.classes) != (theirs.features, theirs.task, theirs.classes):
            raise RequestError(
                f"the variant {reference} has other features or classes than {self._deployment.model}",
                remedy="declare a variant of the same signature in overload.variant",
            )
        return variant

    def _save_curves(self) -> None:
        served = self._current
        learned = _predictions(served.scoring.costs)
        if not _differs(learned, self._saved):
            return
        costs = served.scoring.costs
        try:
            self._registry.save_curve(
                served.entry,
                served.model.runtime.device,
                {"score": costs.score.to_dict(), "commit": costs.commit.to_dict()},
            )
            self._saved = learned
        except MillraceError as error:
            log.warning("latency curve not stored; new workers start cold", reason=str(error))


def _predictions(costs: Costs) -> list[float]:
    return [costs.predict(1 << bucket).total_seconds() for bucket in range(BUCKETS)]


def _differs(left: list[float], right: list[float]) -> bool:
    return any(max(a, b) > min(a, b) * _WORTH_SAVING for a, b in zip(left, right, strict=True))
