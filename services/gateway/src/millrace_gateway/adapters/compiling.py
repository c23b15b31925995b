"""From a version in the registry to one that answers requests."""

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial

from millrace.codec.dispatch import CONTENT_TYPE_HEADER
from millrace.codec.predictions import Identity
from millrace.core.batching import BatchPolicy, Costs
from millrace.core.clock import Clock
from millrace.core.cost import LatencyCurve
from millrace.core.errors import RequestError
from millrace.core.records import Headers
from millrace.core.resting import Rest
from millrace.core.rollout import RolloutMode
from millrace.core.signature import read_alike
from millrace.process.deployment import Deployment, LogMode, RecordFormat
from millrace.serving.agreement import check_transform
from millrace.serving.catalogue import Table, VersionEntry, curves
from millrace.serving.loading import LoadedModel, LoadOptions, load
from millrace.serving.shelf import Shelf
from millrace.serving.streams import StreamCodec
from millrace.telemetry.metrics import Instruments
from millrace_gateway.adapters.answering import settle_best_effort, settle_required
from millrace_gateway.adapters.batching import MicroBatcher
from millrace_gateway.adapters.journal import Journal
from millrace_gateway.adapters.pages import Pages
from millrace_gateway.adapters.prompt import prompt_rows
from millrace_gateway.adapters.served import Opened, Served
from millrace_gateway.adapters.telemetry import BatchTelemetry, RolloutTelemetry
from millrace_gateway.logic.feature_records import FeatureRecordEncoder
from millrace_gateway.logic.rollout import RolloutScoring, Terms
from millrace_gateway.logic.scoring import ModelScoring
from millrace_gateway.logic.statistics import ModelStatistics


@dataclass(frozen=True, slots=True)
class Compiler:
    """Opens models and puts them to work. See `millrace_gateway.adapters.served.Compile`.

    Attributes:
        shelf: Where bundles are.
        codecs: How each deployment's rows are completed and its predictions written.
        journal: Where requests and answers are written.
        threads: Where scoring happens.
        pending_rows: Most rows that wait for one model.
        instruments: Of this process.
        clock: Tells the time.
    """

    shelf: Shelf
    codecs: Mapping[str, StreamCodec]
    journal: Journal
    threads: Executor
    pending_rows: int
    instruments: Instruments
    clock: Clock

    def open(self, table: Table, deployment: Deployment, entry: VersionEntry) -> Opened:
        """Fetch, load and warm a version, with the costs that scorers learned. Blocks."""
        check_transform(table, deployment, entry)
        options = LoadOptions.of(deployment, engines=self.shelf.engines)
        model = load(self.shelf.take(entry.digest), version=entry.version, options=options)
        learned = curves(table, entry).get(model.runtime.device, {}).get("score", {})
        quantile = deployment.slo.quantile
        # Nothing is committed here: an answer is readable when it is given.
        costs = Costs(LatencyCurve.from_dict(learned, quantile=quantile), LatencyCurve(quantile))
        codec = self.codecs[deployment.deployment]
        scoring = ModelScoring(model.version, model.engine, codec.completion(model.signature))
        encoder = codec.encoder(_identity(deployment, model), model.signature)
        prompt = 0 if scoring.may_wait else prompt_rows(model, self.clock)
        return Opened(entry, model, costs, scoring, encoder, prompt)

    def check_pair(self, champion: Opened, challenger: Opened) -> None:
        """Check that two versions answer the same question, and that requests bring what both need."""
        ours, theirs = champion.model.signature, challenger.model.signature
        if (ours.task, ours.classes) != (theirs.task, theirs.classes):
            raise RequestError(
                f"{challenger.entry.key} has another task or other classes than version {champion.entry.version}",
                remedy="deploy a model with other classes as a new deployment",
            )
        brought = {each.name: each for each in champion.asked.features}
        for feature in challenger.asked.features:
            if brought.get(feature.name) != feature:
                raise RequestError(
                    f"{challenger.entry.key} needs {feature.name!r} as {feature.dtype}, which requests to version "
                    f"{champion.entry.version} do not bring",
                    remedy="try it on records, or deploy it under a name of its own",
                )

    def put_to_work(
        self, deployment: Deployment, champion: Opened, challenger: Opened | None, statistics: ModelStatistics
    ) -> Served:
        """Let opened versions answer; to be called on the event loop."""
        settle = settle_required if deployment.online.log is LogMode.REQUIRED else settle_best_effort
        alone = challenger is None
        scoring = champion.scoring if challenger is None else self._rollout(deployment, champion, challenger)
        batcher = MicroBatcher(
            scoring,
            batch_policy(deployment),
            champion.costs if alone else _copied(champion.costs),
            bound_rows=self.pending_rows,
            prompt_rows=champion.prompt_rows if alone else 0,
            threads=self.threads,
            clock=self.clock,
            settle=partial(settle, self.journal, self._pages(deployment, champion, challenger)),
            observer=BatchTelemetry(self.instruments, statistics, deployment.deployment, self.clock),
        )
        return Served(deployment, champion, challenger, batcher, statistics)

    def _rollout(self, deployment: Deployment, champion: Opened, challenger: Opened) -> RolloutScoring:
        rollout = deployment.rollout
        is_alike = read_alike(champion.model.signature, challenger.model.signature)
        return RolloutScoring(
            champion.scoring,
            challenger.scoring,
            None if is_alike else challenger.asked,
            Terms(deployment.deployment, rollout.mode, rollout.share),
            Rest(self.clock, deployment.slo.latency / 2),
            self.clock,
            RolloutTelemetry(self.instruments, deployment.deployment),
        )

    def _pages(self, deployment: Deployment, champion: Opened, challenger: Opened | None) -> Pages:
        is_json = deployment.source.format is RecordFormat.JSON
        headers: Headers = () if is_json else ((CONTENT_TYPE_HEADER, b"application/json"),)
        members = (champion,) if challenger is None else (champion, challenger)
        pages = Pages(
            deployment.requests_topic,
            deployment.predictions_topic,
            FeatureRecordEncoder(champion.asked),
            {each.entry.version: each.encoder for each in members},
            headers,
        )
        if challenger is None:
            return pages
        mode = deployment.rollout.mode
        silent, answering = (champion, challenger) if mode is RolloutMode.CANARY else (challenger, champion)
        shadows = self.codecs[deployment.deployment].shadow_encoder(
            _identity(deployment, silent.model), _identity(deployment, answering.model), silent.model.signature, mode
        )
        return replace(pages, shadows_topic=deployment.shadows_topic, shadows=shadows)


def _identity(deployment: Deployment, model: LoadedModel) -> Identity:
    return Identity(deployment.deployment, model.name, model.version, model.digest, model.transform)


def _copied(costs: Costs) -> Costs:
    """What the champion costs alone: where learning what both cost begins."""
    score, commit = (
        LatencyCurve.from_dict(curve.to_dict(), quantile=curve.quantile) for curve in (costs.score, costs.commit)
    )
    return Costs(score, commit)


def batch_policy(deployment: Deployment) -> BatchPolicy:
    """The batch policy that a deployment declares for requests: that of its topic, with another longest wait."""
    return BatchPolicy(
        slo=deployment.slo.latency,
        max_records=deployment.batch.max_records,
        max_wait=deployment.online.max_wait,
        transaction_records=deployment.batch.transaction_records,
        transaction_age=deployment.batch.transaction_age,
    )
