"""From a version in the registry to one that answers requests."""

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

from millrace.codec.dispatch import CONTENT_TYPE_HEADER
from millrace.codec.predictions import Identity
from millrace.core.batching import BatchPolicy, Costs
from millrace.core.clock import Clock
from millrace.core.cost import LatencyCurve
from millrace.core.records import Headers
from millrace.process.deployment import Deployment, LogMode, RecordFormat
from millrace.serving.catalogue import Table, VersionEntry, curves
from millrace.serving.loading import LoadedModel, LoadOptions, load
from millrace.serving.shelf import Shelf
from millrace.serving.streams import StreamCodec
from millrace.telemetry.metrics import Instruments
from millrace_gateway.adapters.answering import settle_best_effort, settle_required
from millrace_gateway.adapters.batching import MicroBatcher
from millrace_gateway.adapters.journal import Journal
from millrace_gateway.adapters.models import Opened, Served
from millrace_gateway.adapters.pages import Pages
from millrace_gateway.adapters.telemetry import BatchTelemetry
from millrace_gateway.logic.feature_records import FeatureRecordEncoder
from millrace_gateway.logic.scoring import ModelScoring
from millrace_gateway.logic.statistics import ModelStatistics


@dataclass(frozen=True, slots=True)
class Compiler:
    """Opens models and puts them to work. See `millrace_gateway.adapters.models.Compile`.

    Attributes:
        shelf: Where bundles are.
        codecs: How each deployment's predictions are written.
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
        runtime = deployment.runtime
        options = LoadOptions(runtime.providers, runtime.threads, runtime.python_functions)
        model = load(self.shelf.take(entry.digest), version=entry.version, options=options)
        learned = curves(table, entry).get(model.runtime.device, {}).get("score", {})
        quantile = deployment.slo.quantile
        # Nothing is committed here: an answer is readable when it is given.
        costs = Costs(LatencyCurve.from_dict(learned, quantile=quantile), LatencyCurve(quantile))
        return Opened(entry, model, costs, self._pages(deployment, model))

    def put_to_work(self, deployment: Deployment, opened: Opened) -> Served:
        """Let an opened version answer; to be called on the event loop."""
        statistics = ModelStatistics()
        settle = settle_required if deployment.online.log is LogMode.REQUIRED else settle_best_effort
        batcher = MicroBatcher(
            ModelScoring(opened.entry.version, opened.model.engine),
            batch_policy(deployment),
            opened.costs,
            bound_rows=self.pending_rows,
            threads=self.threads,
            clock=self.clock,
            settle=partial(settle, self.journal, opened.pages),
            observer=BatchTelemetry(self.instruments, statistics, deployment.deployment, self.clock),
        )
        return Served(deployment, opened.entry, opened.model, batcher, statistics)

    def _pages(self, deployment: Deployment, model: LoadedModel) -> Pages:
        identity = Identity(deployment.deployment, model.name, model.version, model.digest)
        is_json = deployment.source.format is RecordFormat.JSON
        headers: Headers = () if is_json else ((CONTENT_TYPE_HEADER, b"application/json"),)
        return Pages(
            deployment.requests_topic,
            deployment.predictions_topic,
            FeatureRecordEncoder(model.signature),
            {model.version: self.codecs[deployment.deployment].encoder(identity, model.signature)},
            headers,
        )


def batch_policy(deployment: Deployment) -> BatchPolicy:
    """The batch policy that a deployment declares for requests: that of its topic, with another longest wait."""
    return BatchPolicy(
        slo=deployment.slo.latency,
        max_records=deployment.batch.max_records,
        max_wait=deployment.online.max_wait,
        transaction_records=deployment.batch.transaction_records,
        transaction_age=deployment.batch.transaction_age,
    )
