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
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Self, TypeAlias

from pydantic import BaseModel, Field, StringConstraints, ValidationError, model_validator

from millrace.core.errors import RequestError
from millrace.core.lane import Delivery
from millrace.core.rollout import RolloutMode, SequentialTest
from millrace.process.document import read_document
from millrace.process.refusal import refusal
from millrace.process.settings import FROZEN

Name: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=100)]
"""Lower-case letters, digits and hyphens: a deployment's name is part of topic names, group ids and metric labels."""

Topic: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+$", max_length=249)]
"""A topic name as Kafka allows it."""

ModelReference: TypeAlias = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*(@[a-z][a-z0-9-]*|/[1-9][0-9]*)?$", max_length=200)
]
"""`name@alias`, `name/3` (a version), or `name`, which is `name@champion`."""

Count: TypeAlias = Annotated[int, Field(ge=1)]
Milliseconds: TypeAlias = Annotated[int, Field(ge=1, le=24 * 3600 * 1000)]


class RecordFormat(StrEnum):
    """How the values of the source's records are written, where no content-type header says otherwise."""

    JSON = "json"
    AVRO = "avro"
    """Confluent framing: a zero byte, the schema id in four bytes, the record."""
    ARROW = "arrow"
    """Arrow IPC, many rows in one record."""


class PredictionFormat(StrEnum):
    """How predictions are written."""

    JSON = "json"
    AVRO = "avro"
    """Confluent framing; needs `source.registry`."""


class Start(StrEnum):
    """Where a deployment that has never committed begins to read."""

    EARLIEST = "earliest"
    LATEST = "latest"


class Provider(StrEnum):
    """What executes the model."""

    CPU = "cpu"
    CUDA = "cuda"
    TENSORRT = "tensorrt"


class GroupProtocol(StrEnum):
    """How the members of the consumer group agree on who reads what."""

    AUTO = "auto"
    """KIP-848 where the broker has it, classic elsewhere."""
    CONSUMER = "consumer"
    """KIP-848."""
    CLASSIC = "classic"


class Source(BaseModel):
    """The topic of features, and how its records are to be read."""

    model_config = FROZEN

    topic: Topic
    """An existing topic."""
    format: RecordFormat = RecordFormat.JSON
    """How values are written; a record's content-type header takes precedence."""
    id_field: Annotated[str, Field(min_length=1)] | None = None
    """Field that holds the record's own id. Without it the header `id` counts, else the record's coordinates."""
    schemas: Mapping[Annotated[int, Field(ge=0, lt=2**32)], Path] = {}
    """Avro schemas by id, as files beside this document, for a stream without a schema registry."""
    registry: Annotated[str, StringConstraints(pattern=r"^https?://")] | None = None
    """URL of the schema registry."""
    references: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Tensor features whose field is `blob:sha256:...`: the digest of a `.npy` file in the blob store (ADR 12)."""
    references_bytes: Count = 1_073_741_824
    """Most memory that the referenced tensors of one micro-batch may take; `batch.max_records` must keep within it."""
    start: Start = Start.EARLIEST
    """Where to begin when nothing was ever committed. `earliest`, because then no record goes unscored."""


class Sink(BaseModel):
    """Where predictions go, and the records that get none."""

    model_config = FROZEN

    predictions: Topic | None = None
    """Topic of predictions; `<deployment>.predictions` where absent."""
    dead_letters: Topic | None = None
    """Topic of records that cannot be scored; `<deployment>.dlq` where absent."""
    late: Topic | None = None
    """Topic of records that were shed; `<deployment>.late` where absent. Used only with `overload.shed_after_ms`."""
    format: PredictionFormat = PredictionFormat.JSON
    """How predictions are written."""


class Enrichment(BaseModel):
    """Features that come from the online store instead of the record: the newest record of a topic, by its key."""

    model_config = FROZEN

    table: Topic
    """Topic whose newest records a materializer keeps in the online store."""
    features: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
    """Features of the model that are fields of these records. What a model version does not use is not fetched."""
    key_field: Annotated[str, Field(min_length=1)] | None = None
    """Field of the feature record that holds the key, a text or an integer feature; the record's own key if absent."""
    defaults: Mapping[str, bool | int | float | str | None] = {}
    """Values for features of which the table has none for the key, or none young enough; null for not a number. A
    feature without a default is required: a record without it is a dead letter."""
    max_age_secs: Count | None = None
    """Oldest value that counts, by its record's timestamp; any age where absent."""
    format: RecordFormat = RecordFormat.JSON
    """How the values of the table's topic are written: json or avro."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if unknown := self.defaults.keys() - set(self.features):
            raise ValueError(f"defaults has {min(unknown)!r}, which is not among the features")
        if self.format is RecordFormat.ARROW:
            raise ValueError("format arrow has many rows in one record, of which none is the newest of a key")
        return self


class Slo(BaseModel):
    """The latency goal, from a record's timestamp to its prediction being readable."""

    model_config = FROZEN

    latency_ms: Milliseconds = 200
    """The goal. 200 ms, because a transaction on a busy broker takes 40 to 90 ms at the 99th percentile."""
    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """Share of records that must meet it."""

    @property
    def latency(self) -> timedelta:
        """The goal."""
        return timedelta(milliseconds=self.latency_ms)


class Batch(BaseModel):
    """Bounds of micro-batches and transactions. Inside them, sizes follow from the SLO and the learned costs."""

    model_config = FROZEN

    max_records: Count = 20_000
    """Largest micro-batch. At this size the costs of a call and of a commit have vanished from the cost of a record,
    and a batch of 30 numbers a record is 5 MB."""
    max_wait_ms: Milliseconds = 20
    """Longest wait for more records. Longer waits save commits at low rates and cost latency."""
    transaction_records: Count = 20_000
    """A transaction is committed at the latest with this many records."""
    transaction_ms: Milliseconds = 50
    """A transaction is committed at the latest at this age; until then nobody sees what is in it."""

    @property
    def max_wait(self) -> timedelta:
        """Longest wait for more records."""
        return timedelta(milliseconds=self.max_wait_ms)

    @property
    def transaction_age(self) -> timedelta:
        """A transaction is committed at the latest at this age."""
        return timedelta(milliseconds=self.transaction_ms)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.transaction_records < self.max_records:
            raise ValueError(
                f"transaction_records ({self.transaction_records}) is smaller than max_records ({self.max_records}); "
                "a transaction holds whole micro-batches"
            )
        return self


class Overload(BaseModel):
    """What to do when larger micro-batches are not enough. By default nothing: records wait, and lag shows it."""

    model_config = FROZEN

    variant: ModelReference | None = None
    """A cheaper model of the same signature and outputs; its predictions say `degraded`."""
    variant_after_ms: Milliseconds = 1_000
    """The variant scores while records are later than their deadline by more than this."""
    shed_after_ms: Milliseconds | None = None
    """Records older than this are not scored but written to the late topic; without it all are scored."""

    @property
    def variant_after(self) -> timedelta | None:
        """Lateness from which the variant scores; None without a variant."""
        return timedelta(milliseconds=self.variant_after_ms) if self.variant else None

    @property
    def shed_after(self) -> timedelta | None:
        """Age from which a record is shed; None where all are scored."""
        return None if self.shed_after_ms is None else timedelta(milliseconds=self.shed_after_ms)


class Runtime(BaseModel):
    """What executes the model, and what it may use."""

    model_config = FROZEN

    providers: Annotated[tuple[Provider, ...], Field(min_length=1)] = (Provider.CPU,)
    """In the order of preference; one that is named and missing stops the scorer rather than being passed over."""
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    """Threads of one inference. One, because more scorers scale better than more threads, and give equal bits."""
    python_functions: bool = False
    """Whether a model may be a plain Python function, which runs with all the rights of the scorer."""


class Limits(BaseModel):
    """Bounds of one record, checked before anything large is allocated. Beyond them a record is a dead letter."""

    model_config = FROZEN

    record_bytes: Count = 1_048_576
    """Largest value; Kafka's own default bound of a record."""
    depth: Annotated[int, Field(ge=1, le=256)] = 64
    """Deepest nesting of a JSON value; the outermost object is level 1."""
    rows: Count = 65_536
    """Most rows of an Arrow IPC value."""
    expanded_bytes: Count = 67_108_864
    """Most bytes of an Arrow IPC value once it is decompressed."""


class Group(BaseModel):
    """Membership of the consumer group."""

    model_config = FROZEN

    protocol: GroupProtocol = GroupProtocol.AUTO
    """How the members agree on who reads what."""
    session_timeout_ms: Milliseconds | None = None
    """Time after which a silent member loses its partitions; the broker's own value where absent."""

    @property
    def session_timeout(self) -> timedelta | None:
        """Time after which a silent member loses its partitions; None for the broker's own value."""
        return None if self.session_timeout_ms is None else timedelta(milliseconds=self.session_timeout_ms)


_ASSUMED_LABEL_HORIZON: Final = timedelta(days=1)


class Audit(BaseModel):
    """How predictions are compared with the truth. A deployment without any of it is audited by these defaults."""

    model_config = FROZEN

    labels: Topic | None = None
    """Topic of labels; `<stream>.labels` where absent, for a source `<stream>.features`."""
    label_horizon_secs: Annotated[int, Field(ge=0)] | None = None
    """How long after its event a label may come: performance is final no sooner. Only you know. Where absent a day is
    assumed, and every report says so."""
    correction_horizon_secs: Annotated[int, Field(ge=0)] = 0
    """How long after that corrections and retractions still count."""
    window_secs: Count = 3_600
    """Length of a window in event time: one report each. Long enough for some hundred labels, or chance decides."""
    hop_secs: Count | None = None
    """Distance between the starts of windows; the length of a window where absent, so that none overlap."""
    pane_secs: Count | None = None
    """Step in which performance is watched; divides window and hop. The hop where absent."""
    out_of_orderness_secs: Annotated[int, Field(ge=0)] = 5
    """How far behind the newest record of its partition a prediction may come and still be in time."""
    idle_after_secs: Count = 30
    """A partition that was silent for so long on the clock no longer keeps windows open."""
    orphan_ttl_secs: Annotated[int, Field(ge=0)] = 3_600
    """How long a label waits for its prediction."""
    max_events: Count = 4_000_000
    """Most events held per partition while their labels may come, 0.4 kB each. Beyond it the auditor stops."""
    min_effect: Annotated[float, Field(gt=0)] = 0.1
    """The least relative degradation that matters: 0.1 is from 10 % errors to 11 %."""
    min_labels: Count = 300
    """The fewest labelled events on which a decision may rest."""
    min_drift: Annotated[float, Field(gt=0, le=1)] = 0.05
    """The least Jensen-Shannon distance beyond chance at which a feature counts as drifted."""
    cooldown_secs: Annotated[int, Field(ge=0)] = 86_400
    """Event time between two retrain requests."""
    retrain_after_labels: Count | None = None
    """Ask for a better version after so many labelled events, whether or not anything is wrong; never where absent."""
    retrain_every_secs: Count | None = None
    """Ask for a better version after so much event time, whether or not anything is wrong; never where absent."""
    guard_secs: Annotated[int, Field(ge=0)] = 86_400
    """Event time after a promotion in which only a hard fall below the old baseline alarms, advising to roll back."""
    in_range: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Data is broken, and blocks retraining, when fewer of a feature's values lie in the range of the reference."""
    completeness: Annotated[float, Field(ge=0, le=1)] = 0.95
    """Data is broken when fewer of a feature's values are present."""
    segment_by: str | None = None
    """A feature of the model: reports for each of its values (numbers: for each tenth of the reference) as well."""

    @property
    def label_horizon(self) -> timedelta:
        """How long after its event a label may come, declared or assumed."""
        return _ASSUMED_LABEL_HORIZON if self.label_horizon_secs is None else timedelta(seconds=self.label_horizon_secs)


class Follow(StrEnum):
    """What follows when a challenger is shown to be better."""

    PROMOTE = "promote"
    """It becomes the champion."""
    PROPOSE = "propose"
    """It stays the challenger, and a person decides: `millrace model promote`."""


class Rollout(BaseModel):
    """How a challenger is tried. A rollout is on while the challenger's alias names another version than the champion.

    The probability that a challenger is promoted which is not better than `margin`, or rolled back which is not worse
    than `tolerance`, is at most `alpha`, over the whole rollout. Both count in shares of labelled events on which one
    version alone was right (for numbers: nearer).
    """

    model_config = FROZEN

    mode: RolloutMode = RolloutMode.NONE
    """`shadow`: it scores everything and answers nothing. `canary`: it answers a share of the keys."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of the keys that a canary answers."""
    challenger: ModelReference | None = None
    """Which version is tried; the alias `challenger` of the model where absent."""
    follow: Follow = Follow.PROMOTE
    """What follows when it is shown to be better."""
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """Probability of a false promotion, and of a false rollback, at most."""
    margin: Annotated[float, Field(gt=-1, lt=1)] = 0.0
    """The gain to be exceeded. 0 is better; -0.01 is not worse by one event in a hundred."""
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The loss to be exceeded before it is rolled back."""
    min_pairs: Count = 200
    """No end before so many labelled events that both versions scored."""
    max_pairs: Count = 100_000
    """The end at so many: the champion stays."""

    @property
    def test(self) -> SequentialTest:
        """When the rollout ends."""
        return SequentialTest(self.alpha, self.margin, self.tolerance, self.min_pairs, self.max_pairs)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.max_pairs < self.min_pairs:
            raise ValueError(f"max_pairs ({self.max_pairs}) is smaller than min_pairs ({self.min_pairs})")
        return self


class LogMode(StrEnum):
    """How surely requests that a gateway answers, and its answers, become records."""

    REQUIRED = "required"
    """An answer is given once the broker has its request and its prediction; without a broker there is no answer."""
    BEST_EFFORT = "best_effort"
    """An answer waits for nobody; what could not be written is counted."""


class Online(BaseModel):
    """How a gateway answers for this deployment."""

    model_config = FROZEN

    log: LogMode = LogMode.BEST_EFFORT
    """Whether an answer waits until it is a record. It does not by default, so that the broker adds no latency."""
    max_wait_ms: Annotated[int, Field(ge=0, le=60_000)] = 0
    """Longest wait of a request for others to share its micro-batch. None by default: what comes while the model is
    busy is the next micro-batch."""
    requests: Topic | None = None
    """Topic of requests; `<deployment>.requests` where absent."""

    @property
    def max_wait(self) -> timedelta:
        """Longest wait of a request for others to share its micro-batch."""
        return timedelta(milliseconds=self.max_wait_ms)


class Scale(BaseModel):
    """How many processes work for the deployment, and what each may use. The launcher reads it; services do not."""

    model_config = FROZEN

    scorers: Annotated[int, Field(ge=0, le=1_000)] = 1
    """Scorers. More than the source has partitions are idle, except in `shared` delivery."""
    auditors: Annotated[int, Field(ge=0, le=1_000)] = 0
    """Auditors. None, because without labels there is little to audit."""
    gateways: Annotated[int, Field(ge=0, le=1_000)] = 0
    """Gateways. None, because a topic needs no door."""
    materializers: Annotated[int, Field(ge=0, le=1_000)] = 0
    """Materializers of the predictions."""
    training: Path | None = None
    """Training document of the deployment's model, on a path that every node has; a trainer runs where there is one."""
    cores: Annotated[float, Field(gt=0, le=1_024)] = 0.5
    """Processor cores that one process is counted with; no node is given more than it has. A scorer on one thread with
    time to wait for records is busy half of the time."""
    memory_mb: Annotated[int, Field(ge=64)] = 1_024
    """Most memory of one process, MiB. One that takes more is ended, and says so."""
    gpus: Annotated[int, Field(ge=0, le=64)] = 0
    """GPUs of one scorer, for it alone."""
    libraries: Mapping[str, str] = {}
    """Exact versions of libraries that a node must have: `onnxruntime: 1.32.0`."""


class Deployment(BaseModel):
    """A model at work on a topic: the desired state of one deployment."""

    model_config = FROZEN

    deployment: Name
    """Name of the deployment."""
    source: Source
    """The topic of features."""
    model: ModelReference
    """Which model scores: `name@alias` follows the alias, `name/3` stays at version 3, `name` is `name@champion`."""
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
