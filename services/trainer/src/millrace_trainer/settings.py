"""The training document: which model, which streams, which function, which rules."""

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from millrace.core.promotion import Approval, PromotionPolicy
from millrace.process.deployment import Deployment, Enrichment, Limits, Source, Topic
from millrace.process.document import read_document
from millrace.process.refusal import refusal
from millrace.process.retraining import ModelName
from millrace.process.settings import FROZEN
from millrace_trainer.logic.ledger import IntakePolicy
from millrace_trainer.logic.window import Since, WindowPolicy

Seconds = Annotated[int, Field(ge=1)]
Bytes = Annotated[int, Field(ge=1)]
Rows = Annotated[int, Field(ge=2)]


class Function(BaseModel):
    """The training function, and what it may use."""

    model_config = FROZEN

    name: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")]
    """`package.module:function`; see `millrace.serving.training`."""
    folders: tuple[Path, ...] = ()
    """Where its module is found besides the installed packages, relative to this document."""
    environment: Mapping[str, str] = {}
    """Environment variables of its process. Nothing else of the trainer's environment is passed on."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """For everything random."""
    memory_bytes: Bytes = 8 * 2**30
    """Most address space of its process."""
    cpu_secs: Seconds = 3_600
    """Most processor time."""
    wall_secs: Seconds = 3_600
    """Most time on the clock."""
    file_bytes: Bytes = 2 * 2**30
    """Largest file that it may write."""
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    """Threads of numerical libraries. One, because more threads may sum in another order."""


class Data(BaseModel):
    """What a candidate learns from, and what it is measured on."""

    model_config = FROZEN

    since: Since = Since.REQUEST
    """Where the data begin: where the request says, or with the first window in which the model was degraded."""
    history_secs: Seconds | None = None
    """No record is older than this at the end of the request's data; no bound where absent."""
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.25
    """Share of the labelled records, the latest, on which champion and candidate are compared."""
    min_train_rows: Rows = 100
    """The fewest labelled records to learn from."""
    label_events: Annotated[int, Field(ge=1)] = 5_000_000
    """Most events whose labels are held in memory, about 250 bytes each."""


class Intake(BaseModel):
    """Which requests are taken up, by the event times that requests name. Requests by hand are exempt."""

    model_config = FROZEN

    cooldown_secs: Annotated[int, Field(ge=0)] = 86_400
    """Least time between two requests that are taken up."""
    max_per_day: Annotated[int, Field(ge=1)] = 3
    """The most requests that are taken up within 24 hours."""


class Promotion(BaseModel):
    """When a candidate takes the champion's place."""

    model_config = FROZEN

    approval: Approval = Approval.AUTOMATIC
    """Who has the last word on a candidate that is shown to be better."""
    min_rows: Rows = 100
    """The fewest held-out records that a decision may rest on."""
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """The largest probability of chance at which a gain counts as shown."""
    min_gain: Annotated[float, Field(ge=0)] = 0.0
    """The least gain that is worth a change: in accuracy, or in mean absolute error."""
    rollout_secs: Seconds = 7 * 86_400
    """With the approval `canary`: how long to wait for the end of a rollout. Then a person is asked."""


class Training(BaseModel):
    """How one model is trained again."""

    model_config = FROZEN

    model: ModelName
    """Name of the model. It must have a champion."""
    source: Source
    """The topic of features, and how its records are to be read: as in the deployment."""
    labels: Topic
    """The topic of labels."""
    enrich: tuple[Enrichment, ...] = ()
    """Features that come from the online store: as in the deployment."""
    predictions: Topic | None = None
    """With `enrich`: the deployment's topic of predictions, which tell what was fetched for each record. A record
    without a prediction is not learned from."""
    function: Function
    """The training function, and what it may use."""
    data: Data = Data()
    """What a candidate learns from, and what it is measured on."""
    intake: Intake = Intake()
    """Which requests are taken up."""
    promotion: Promotion = Promotion()
    """When a candidate takes the champion's place."""
    limits: Limits = Limits()
    """Bounds of one feature record."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a training document from a YAML or JSON file; paths in it are relative to the file's folder.

        Raises:
            RequestError: The file cannot be read or is no valid document; names the file, the place and the remedy.
        """
        loaded = cls.parse(read_document(path), subject=str(path))
        schemas = {number: path.parent / file for number, file in loaded.source.schemas.items()}
        folders = tuple((path.parent / folder).resolve() for folder in loaded.function.folders)
        return loaded.model_copy(
            update={
                "source": loaded.source.model_copy(update={"schemas": schemas}),
                "function": loaded.function.model_copy(update={"folders": folders}),
            }
        )

    @classmethod
    def parse(cls, document: Mapping[str, Any], *, subject: str) -> Self:
        """Read a training document; see `Deployment.parse`."""
        try:
            return cls.model_validate_json(json.dumps(document, default=str), strict=True)
        except ValidationError as error:
            raise refusal(error, subject=subject) from None

    def deployment(self) -> Deployment:
        """A deployment that reads the same stream in the same way."""
        return Deployment(
            deployment="trainer", source=self.source, model=self.model, limits=self.limits, enrich=self.enrich
        )

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if bool(self.enrich) != (self.predictions is not None):
            raise ValueError("enrich and predictions go together: what was fetched for a record is in its prediction")
        return self

    @property
    def intake_policy(self) -> IntakePolicy:
        """Which requests are taken up."""
        return IntakePolicy(timedelta(seconds=self.intake.cooldown_secs), self.intake.max_per_day)

    @property
    def window_policy(self) -> WindowPolicy:
        """How much of the past to use."""
        history = self.data.history_secs
        return WindowPolicy(
            since=self.data.since,
            history=None if history is None else timedelta(seconds=history),
            holdout=self.data.holdout,
            min_train=self.data.min_train_rows,
        )

    @property
    def promotion_policy(self) -> PromotionPolicy:
        """When a candidate is good enough."""
        return PromotionPolicy(**self.promotion.model_dump(exclude={"rollout_secs"}))
