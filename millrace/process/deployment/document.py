"""The deployment document: which topic, which model, which promise.

A deployment is one YAML or JSON document. Four lines are enough; everything else has a default that is written here
with its reason::

    deployment: rain
    source:
      topic: weather.features
    model: weather@champion

The document is the desired state: it is read from a file, or from the topic `millrace.deployments` by its name.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ValidationError, model_validator

from millrace.core.errors import RequestError
from millrace.core.lane import Delivery
from millrace.process.deployment.audit import Audit
from millrace.process.deployment.execution import Group, Limits, Runtime
from millrace.process.deployment.names import ModelReference, Name, TransformReference
from millrace.process.deployment.online import Online
from millrace.process.deployment.pace import Batch, Overload, Slo
from millrace.process.deployment.rollout import Rollout
from millrace.process.deployment.scale import Scale
from millrace.process.deployment.streams import Enrichment, PredictionFormat, RecordFormat, Sink, Source
from millrace.process.document import read_document
from millrace.process.refusal import refusal
from millrace.process.settings import FROZEN


class Deployment(BaseModel):
    """A model at work on a topic: the desired state of one deployment."""

    model_config = FROZEN

    deployment: Name
    """Name of the deployment."""
    source: Source
    """The topic of features."""
    model: ModelReference
    """Which model scores: `name@alias` follows the alias, `name/3` stays at version 3, `name` is `name@champion`."""
    transform: TransformReference | None = None
    """The transform that the model must have been trained with, checked before a record is scored: `name/3` (a
    version), or `name` (any of them). Which one it was is part of the model's version; where absent, that is it."""
    sink: Sink = Sink()
    """Where predictions go."""
    enrich: tuple[Enrichment, ...] = ()
    """Features that come from the online store."""
    delivery: Delivery = Delivery.EXACTLY_ONCE
    """What is promised from the source topic to the predictions topic."""
    slo: Slo = Slo()
    """The latency goal."""
    batch: Batch = Batch()
    """Bounds of micro-batches and transactions."""
    overload: Overload = Overload()
    """What to do when larger micro-batches are not enough."""
    runtime: Runtime = Runtime()
    """What executes the model."""
    limits: Limits = Limits()
    """Bounds of one record."""
    group: Group = Group()
    """Membership of the consumer group."""
    audit: Audit = Audit()
    """How predictions are compared with the truth."""
    scale: Scale = Scale()
    """How many processes work for the deployment, and what each may use."""
    rollout: Rollout = Rollout()
    """How a challenger is tried."""
    online: Online = Online()
    """How a gateway answers for this deployment."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a deployment from a YAML or JSON file; paths in it are relative to the file's folder.

        Raises:
            RequestError: The file cannot be read or is no valid deployment; names the file, the place and the remedy.
        """
        document = read_document(path)
        loaded = cls.parse(document, subject=str(path))
        schemas = {number: path.parent / file for number, file in loaded.source.schemas.items()}
        training = loaded.scale.training and (path.parent / loaded.scale.training).resolve()
        return loaded.model_copy(
            update={
                "source": loaded.source.model_copy(update={"schemas": schemas}),
                "scale": loaded.scale.model_copy(update={"training": training}),
            }
        )

    @classmethod
    def parse(cls, document: Mapping[str, Any], *, subject: str) -> Self:
        """Read a deployment from a decoded document.

        Args:
            document: What a JSON or YAML parser returned.
            subject: Where it came from, for errors.

        Raises:
            RequestError: It is no valid deployment; names the subject, the place and the remedy.
        """
        try:
            # JSON mode is the strict one that still knows enums and paths: "yes" is no boolean and "20" no number.
            return cls.model_validate_json(json.dumps(document, default=str), strict=True)
        except ValidationError as error:
            raise refusal(error, subject=subject) from None

    def document(self) -> dict[str, Any]:
        """The document as JSON values, without what has its default. `parse` reads it back as an equal deployment."""
        return self.model_dump(mode="json", exclude_defaults=True)

    @property
    def predictions_topic(self) -> str:
        """Topic of predictions."""
        return self.sink.predictions or f"{self.deployment}.predictions"

    @property
    def requests_topic(self) -> str:
        """Topic of the requests that a gateway answered."""
        return self.online.requests or f"{self.deployment}.requests"

    @property
    def dead_letters_topic(self) -> str:
        """Topic of records that cannot be scored."""
        return self.sink.dead_letters or f"{self.deployment}.dlq"

    @property
    def late_topic(self) -> str:
        """Topic of records that were shed."""
        return self.sink.late or f"{self.deployment}.late"

    @property
    def shadows_topic(self) -> str:
        """Topic of what the version that did not answer said."""
        return f"{self.deployment}.shadows"

    @property
    def handovers_topic(self) -> str:
        """Topic of the offsets from which versions answer."""
        return f"{self.deployment}.handovers"

    @property
    def challenger(self) -> str:
        """Reference of the version that a rollout tries."""
        return self.rollout.challenger or f"{re.split('[@/]', self.model)[0]}@challenger"

    @property
    def labels_topic(self) -> str:
        """Topic of labels."""
        return self.audit.labels or f"{self.source.topic.removesuffix('.features')}.labels"

    @property
    def group_id(self) -> str:
        """Consumer group of all scorers of the deployment."""
        return f"scorer-{self.deployment}"

    @model_validator(mode="after")
    def _agree(self) -> Self:
        self._check_times()
        outputs = (self.predictions_topic, self.dead_letters_topic, self.late_topic)
        if len({self.source.topic, *outputs}) < 4:
            raise ValueError("the source, predictions, dead-letter and late topics must be four different topics")
        if reserved := {self.shadows_topic, self.handovers_topic} & {self.source.topic, *outputs}:
            raise ValueError(f"{min(reserved)!r} is the name of a topic that rollouts write to; choose another one")
        if self.requests_topic in {self.source.topic, *outputs}:
            raise ValueError(f"online.requests must be a topic of its own, not {self.requests_topic!r}")
        if self.sink.format is PredictionFormat.AVRO and self.source.registry is None:
            raise ValueError("sink.format avro needs source.registry, which gives the schema its id")
        if self.source.format is RecordFormat.AVRO and not (self.source.registry or self.source.schemas):
            raise ValueError("source.format avro needs source.registry or source.schemas")
        self._check_enrichment()
        if self.scale.auto is not None and self.delivery is Delivery.SHARED:
            raise ValueError("scale.auto follows the offsets of a consumer group, and shared delivery has none")
        return self

    def _check_enrichment(self) -> None:
        names = [name for enrichment in self.enrich for name in enrichment.features]
        if len(set(names)) < len(names):
            raise ValueError(f"enrich names {max(names, key=names.count)!r} twice; a feature comes from one table")
        if self.enrich and self.sink.format is PredictionFormat.AVRO:
            raise ValueError("sink.format avro has no place for enriched values, without which nothing can be repeated")
        if any(each.format is RecordFormat.AVRO for each in self.enrich) and not (
            self.source.registry or self.source.schemas
        ):
            raise ValueError("enrich.format avro needs source.registry or source.schemas")

    def _check_times(self) -> None:
        goal = self.slo.latency_ms
        if self.batch.transaction_ms >= goal:
            raise ValueError(
                f"batch.transaction_ms ({self.batch.transaction_ms}) must be below slo.latency_ms ({goal}), "
                "because nobody sees a prediction before its transaction ends"
            )
        if self.batch.max_wait_ms >= goal:
            raise ValueError(f"batch.max_wait_ms ({self.batch.max_wait_ms}) must be below slo.latency_ms ({goal})")
        if self.overload.shed_after_ms is not None and self.overload.shed_after_ms <= goal:
            raise ValueError(
                f"overload.shed_after_ms ({self.overload.shed_after_ms}) must be above slo.latency_ms ({goal}), "
                "because a record within its goal is not late"
            )


def find_deployment(documents: Mapping[str, Mapping[str, Any]], name: str) -> Deployment:
    """The deployment of this name among the values of `millrace.deployments`.

    Raises:
        RequestError: There is none, or its document is not valid.
    """
    if name not in documents:
        known = ", ".join(sorted(documents)) or "none"
        raise RequestError(f"there is no deployment {name!r}", remedy=f"deployments that exist: {known}")
    return Deployment.parse(documents[name], subject=f"millrace.deployments, key {name}")
