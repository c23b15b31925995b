"""The models of a deployment, as the registry names them: loaded in the background, taken over between batches."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

import structlog

from millrace.core.batching import Costs
from millrace.core.cost import BUCKETS, LatencyCurve, backoff
from millrace.core.errors import MillraceError, RequestError, TransientError
from millrace.core.rollout import RolloutMode
from millrace.core.signature import Signature
from millrace.process.deployment import Deployment
from millrace.serving.agreement import check_transform
from millrace.serving.catalogue import Table, VersionEntry, curves, names_version, resolve
from millrace.serving.loading import LoadedModel, LoadOptions, load
from millrace.serving.registry import Registry
from millrace_scorer.logic.lineup import Lineup
from millrace_scorer.logic.ports import Scoring
from millrace_scorer.logic.scoring import ModelScoring

log = structlog.get_logger()

_SAVE_EVERY: Final = timedelta(minutes=1)
_WORTH_SAVING: Final = 1.25
"""A curve is stored again when it predicts for some size a duration that differs by more than this factor."""
_FIRST_RETRY: Final = timedelta(milliseconds=500)
_LONGEST_RETRY: Final = timedelta(seconds=30)


class Compile(Protocol):
    """Makes loaded models score the records of the deployment's stream."""

    def model(self, model: LoadedModel, costs: Costs, *, degraded: bool) -> ModelScoring:
        """Compile decoders and encoders for the model.

        Raises:
            RequestError: The stream's format cannot carry the model's features.
        """
        ...

    def rollout(
        self, champion: ModelScoring, challenger: ModelScoring, signatures: tuple[Signature, Signature]
    ) -> Scoring:
        """Let two compiled models, given with their signatures, score together."""
        ...


class OnSwap(Protocol):
    """Is told, on the loop's thread, who scores from now on."""

    def __call__(self, lineup: Lineup) -> None:
        """These versions score from now on."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class _Served:
    entry: VersionEntry
    model: LoadedModel
    scoring: ModelScoring

    @property
    def identity(self) -> tuple[int, str]:
        return self.entry.version, self.entry.digest


@dataclass(frozen=True, slots=True)
class _Team:
    """Who scores together, and how."""

    champion: _Served
    challenger: _Served | None
    scoring: Scoring

    @property
    def members(self) -> tuple[_Served, ...]:
        return (self.champion,) if self.challenger is None else (self.champion, self.challenger)

    @property
    def lineup(self) -> Lineup:
        lineup = self.scoring.lineup
        if lineup is None:
            raise RuntimeError("a stand-in is no champion")
        return lineup


class ServedModels:
    """The champion, its challenger while a rollout is on, and the variant. See `millrace_scorer.logic.ports.Models`.

    `current` and `variant` belong to the loop's thread. A reference that names an alias is followed: when the alias
    moves, the new version is fetched, loaded and warmed on another thread, and the next call of `current` takes it
    over. A version that cannot be loaded changes nothing; the log says why. A challenger that is promoted is loaded
    already, and takes over at once.

    Args:
        registry: Where models are; outlives this object.
        deployment: Which models, and what they may use.
        compile: Makes loaded models score the stream's records.
        on_swap: Told who takes over, the first ones included.

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
        champion = self._load(table, resolve(table, deployment.model), degraded=False)
        self._team = _Team(champion, None, champion.scoring)
        self._variant = self._load_variant(table)
        self._refused: tuple[tuple[int, str], int] | None = None
        self._next: _Team | None = None
        self._wanted: Table | None = None
        self._closing = False
        self._news = threading.Condition()  # Guards the three above and the team.
        self._saved = _predictions(champion.scoring.costs)
        # A challenger that is named already is there from the first record on, if it can be.
        self._wanted = None if self._has_followed(table, 1) else table
        on_swap(self._team.lineup)
        self._take_over()
        registry.follow(self._changed)
        self._loader = threading.Thread(target=self._follow, name="model-loader", daemon=True)
        self._loader.start()

    def current(self) -> Scoring:
        """The model that scores now; takes over the next one if it is ready."""
        if self._next is not None:
            self._take_over()
        return self._team.scoring

    def variant(self) -> Scoring | None:
        """The cheaper model for times of overload."""
        return None if self._variant is None else self._variant.scoring

    def close(self) -> None:
        """Keep what was learned, stop following, release the models."""
        with self._news:
            self._closing = True
            self._news.notify()
        self._loader.join()
        teams = filter(None, (self._team, self._next))
        served = [member for team in teams for member in team.members]
        _close([*served, *filter(None, [self._variant])])

    def _take_over(self) -> None:
        with self._news:
            before, following = self._team, self._next
            if following is None:
                return
            self._team, self._next = following, None
        self._on_swap(following.lineup)
        _close([served for served in before.members if served not in following.members])

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
        team = self._next or self._team  # Its members stay open: only this thread puts another team in its place.
        champion = team.champion
        try:
            champion = self._obtain(table, resolve(table, self._deployment.model), team)
        except TransientError as error:
            log.warning("new model version not loaded yet", reason=error.message, attempt=attempt)
            return False
        except MillraceError as error:
            log.error("new model version refused; the old one scores on", reason=error.message, remedy=error.remedy)
        challenger, is_final = None, True
        try:
            challenger = self._challenger(table, champion, team)
        except TransientError as error:
            log.warning("challenger not loaded yet", reason=error.message, attempt=attempt)
            self._refused, is_final = None, False
        except MillraceError as error:
            log.error("challenger refused; the champion scores alone", reason=error.message, remedy=error.remedy)
        if champion is not team.champion or challenger is not team.challenger:
            self._prepare(champion, challenger)
        return is_final

    def _challenger(self, table: Table, champion: _Served, team: _Team) -> _Served | None:
        """The version that is tried; None while no rollout is on."""
        deployment = self._deployment
        if deployment.rollout.mode is RolloutMode.NONE or not names_version(table, deployment.challenger):
            return None
        entry = resolve(table, deployment.challenger)
        pair = champion.identity, entry.version
        if entry.version == champion.entry.version or pair == self._refused:
            return None
        self._refused = pair  # until it proves to fit: the table changes often, and says the same of it
        challenger = self._obtain(table, entry, team)
        ours, theirs = champion.model.signature, challenger.model.signature
        if (ours.task, ours.classes) != (theirs.task, theirs.classes):
            _close([each for each in (challenger,) if each not in team.members])
            raise RequestError(
                f"{entry.key} has another task or other classes than version {champion.entry.version}",
                remedy="deploy a model with other classes as a new deployment",
            )
        self._refused = None
        return challenger

    def _obtain(self, table: Table, entry: VersionEntry, team: _Team) -> _Served:
        """The version, loaded; the team may have it."""
        here = [served for served in team.members if served.identity == (entry.version, entry.digest)]
        return here[0] if here else self._load(table, entry, degraded=False)

    def _prepare(self, champion: _Served, challenger: _Served | None) -> None:
        scoring: Scoring = champion.scoring
        if challenger is not None:
            signatures = champion.model.signature, challenger.model.signature
            scoring = self._compile.rollout(champion.scoring, challenger.scoring, signatures)
        team = _Team(champion, challenger, scoring)
        with self._news:
            overtaken, self._next = self._next, team
            needed = (*self._team.members, *team.members)
        _close([served for served in (overtaken.members if overtaken else ()) if served not in needed])

    def _load(self, table: Table, entry: VersionEntry, *, degraded: bool) -> _Served:
        check_transform(table, self._deployment, entry)
        shelf = self._registry.shelf
        options = LoadOptions.of(self._deployment, engines=shelf.engines)
        model = load(shelf.take(entry.digest), version=entry.version, options=options)
        learned = curves(table, entry).get(model.runtime.device, {})
        quantile = self._deployment.slo.quantile
        costs = Costs(
            LatencyCurve.from_dict(learned.get("score", {}), quantile=quantile),
            LatencyCurve.from_dict(learned.get("commit", {}), quantile=quantile),
        )
        return _Served(entry, model, self._compile.model(model, costs, degraded=degraded))

    def _load_variant(self, table: Table) -> _Served | None:
        reference = self._deployment.overload.variant
        if reference is None:
            return None
        variant = self._load(table, resolve(table, reference), degraded=True)
        ours, theirs = self._team.champion.model.signature, variant.model.signature
        if (ours.features, ours.task, ours.classes) != (theirs.features, theirs.task, theirs.classes):
            raise RequestError(
                f"the variant {reference} has other features or classes than {self._deployment.model}",
                remedy="declare a variant of the same signature in overload.variant",
            )
        return variant

    def _save_curves(self) -> None:
        served = self._team.champion
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


def _close(served: Iterable[_Served]) -> None:
    for each in served:
        each.model.close()


def _predictions(costs: Costs) -> list[float]:
    return [costs.predict(1 << bucket).total_seconds() for bucket in range(BUCKETS)]


def _differs(left: list[float], right: list[float]) -> bool:
    return any(max(a, b) > min(a, b) * _WORTH_SAVING for a, b in zip(left, right, strict=True))
