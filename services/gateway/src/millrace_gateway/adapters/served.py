"""Model versions at work: one in memory, and those that answer one deployment's requests together."""

from dataclasses import dataclass
from typing import Protocol

from millrace.codec.predictions import PredictionEncoder
from millrace.core.batching import Costs
from millrace.core.signature import Signature
from millrace.process.deployment import Deployment
from millrace.serving.catalogue import Table, VersionEntry
from millrace.serving.loading import LoadedModel
from millrace_gateway.adapters.batching import MicroBatcher
from millrace_gateway.logic.errors import TooLargeError
from millrace_gateway.logic.scoring import ModelScoring
from millrace_gateway.logic.statistics import ModelStatistics


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """One model version in memory, and what it needs to be put to work.

    Attributes:
        entry: What the registry says of it.
        model: Loaded and warm.
        costs: What micro-batches cost, as far as scorers have learned it.
        scoring: Scores requests with it alone.
        encoder: Writes its predictions.
        prompt_rows: Most rows that it scores so fast that no thread is worth waking; 0 if none.
    """

    entry: VersionEntry
    model: LoadedModel
    costs: Costs
    scoring: ModelScoring
    encoder: PredictionEncoder
    prompt_rows: int

    @property
    def identity(self) -> tuple[int, str]:
        """Which version it is."""
        return self.entry.version, self.entry.digest

    @property
    def asked(self) -> Signature:
        """What a request brings."""
        completion = self.scoring.completion
        return self.model.signature if completion is None else completion.asked


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """A model version at work for one deployment, and the one that is tried beside it.

    Attributes:
        deployment: For which deployment.
        champion: Answers, but for what a canary takes.
        challenger: Is tried; None without a rollout.
        batcher: Collects requests for both.
        statistics: What was answered.
    """

    deployment: Deployment
    champion: Opened
    challenger: Opened | None
    batcher: MicroBatcher
    statistics: ModelStatistics

    @property
    def entry(self) -> VersionEntry:
        """What the registry says of the champion."""
        return self.champion.entry

    @property
    def model(self) -> LoadedModel:
        """The champion."""
        return self.champion.model

    @property
    def asked(self) -> Signature:
        """What a request brings."""
        return self.champion.asked

    @property
    def members(self) -> tuple[Opened, ...]:
        """The versions at work."""
        return (self.champion,) if self.challenger is None else (self.champion, self.challenger)

    def check_size(self, rows: int) -> None:
        """Refuse a request of more rows than there is memory for what they refer to.

        Raises:
            TooLargeError: It has too many.
        """
        most = self.deployment.batch.max_records
        if self.deployment.source.references and rows > most:
            raise TooLargeError(
                f"the request has {rows} rows, and {most} of them may refer to tensors at a time",
                remedy="send fewer rows in a request, or raise batch.max_records with source.references_bytes",
            )


class Compile(Protocol):
    """Opens models and puts them to work."""

    def open(self, table: Table, deployment: Deployment, entry: VersionEntry) -> Opened:
        """Fetch, load and warm a version. Blocks; called on a thread.

        Raises:
            RequestError: It does not fit the deployment.
            TransientError: The blob store or a schema registry is away.
        """
        ...

    def check_pair(self, champion: Opened, challenger: Opened) -> None:
        """Check that two versions can answer the same requests.

        Raises:
            RequestError: They cannot.
        """
        ...

    def put_to_work(
        self, deployment: Deployment, champion: Opened, challenger: Opened | None, statistics: ModelStatistics
    ) -> Served:
        """Let opened versions answer. Called on the event loop."""
        ...
