"""The scoring function as Flink calls it: columns of a bundle of records, as pandas holds them."""

from dataclasses import dataclass
from typing import Any, Final

import pandas as pd
from pyflink.table import DataTypes, FunctionContext
from pyflink.table.udf import ScalarFunction

from millrace.codec.dead_letters import Circumstances
from millrace.codec.predictions import Identity
from millrace.core.errors import FatalError
from millrace.process.clock import SystemClock
from millrace.process.deployment import Deployment
from millrace.process.settings import Settings
from millrace.serving.loading import LoadOptions, load
from millrace.serving.shelf import Shelf
from millrace.serving.streams import StreamCodec
from millrace_flink.functions.columns import header_columns, read_columns
from millrace_flink.functions.scoring import RecordScoring

RESULT: Final = DataTypes.ROW(
    [
        DataTypes.FIELD("predictions", DataTypes.ARRAY(DataTypes.BYTES())),
        DataTypes.FIELD("names", DataTypes.ARRAY(DataTypes.STRING())),
        DataTypes.FIELD("contents", DataTypes.ARRAY(DataTypes.BYTES())),
    ]
)
"""Predictions of a record, and the headers of its dead letter: Flink's Arrow maps do not survive the way to Python."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a task must know to score; travels to it as a pickle.

    Attributes:
        deployment: The document.
        version: Number of the model version.
        digest: Digest of its bundle.
        settings: Where bundles and stores are.
    """

    deployment: Deployment
    version: int
    digest: str
    settings: Settings


class ScoreRecords(ScalarFunction):  # type: ignore[misc]  # PyFlink is untyped
    """Scores a bundle of records at a time. The model is loaded once per Python worker."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._scoring: RecordScoring | None = None
        self._clock = SystemClock()

    def open(self, function_context: FunctionContext) -> None:
        """Load the model, fetching its bundle if this machine does not have it."""
        deployment, settings = self._assignment.deployment, self._assignment.settings
        bundle = Shelf.of(settings).take(self._assignment.digest)
        options = LoadOptions(python_functions=deployment.runtime.python_functions)
        model = load(bundle, version=self._assignment.version, options=options)
        codec = StreamCodec(deployment, self._clock, settings=settings)
        identity = Identity(deployment.deployment, model.name, model.version, model.digest, model.transform)
        self._scoring = RecordScoring(
            codec.decoder(model.signature),
            model.engine,
            codec.encoder(identity, model.signature),
            Circumstances(deployment.deployment, f"{model.name}/{model.version}", deployment.group_id),
        )

    def eval(self, *columns: Any) -> pd.DataFrame:  # noqa: ANN401 - pandas series, in the order of `jobs.score`
        """Score a bundle; see `RESULT` for what is returned, a row per record."""
        if self._scoring is None:
            raise FatalError("records came before the model was loaded", remedy="report this as a bug")
        records = read_columns(self._assignment.deployment.source.topic, columns)
        verdicts = self._scoring.score(records, wall_ms=self._clock.wall_ms())
        return pd.DataFrame(
            {
                "predictions": verdicts.predictions,
                **header_columns(verdicts.letters),
            }
        )
