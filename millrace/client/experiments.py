"""Experiments: models and their evaluations, from a notebook to the registry, a notebook per experiment."""

import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from millrace.client.batch import score_files
from millrace.client.identity import who_am_i
from millrace.client.local import find_kafka
from millrace.client.models import Models, ModelVersion
from millrace.core.errors import RequestError
from millrace.process.settings import KafkaSettings, Settings
from millrace.serving.catalogue import CHAMPION, EvaluationEntry, Reference
from millrace.serving.evaluation import evaluate
from millrace.serving.export import Labels, Origin, export
from millrace.serving.loading import LoadOptions, load
from millrace.serving.registry import Registry
from millrace.serving.sample import Sample
from millrace.serving.shelf import Shelf


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Experiment:
    """One question that is worked on, most often in one notebook. Holds no resources between calls.

    Every method may raise TransientError when the broker or the blob store cannot be reached, and FatalError when the
    broker refuses this client.

    Example::

        experiment = Experiment("iris")
        version = experiment.add_model(estimator, validation, labels=truth)
        experiment.add_evaluation(version.entry.key, held_out, held_out_truth)
        experiment.batch(version.entry.key, "flowers.parquet", "scored")

    Args:
        name: Of the experiment, and of the models that it makes of estimators.
        kafka: The cluster: settings, or broker addresses, or None for the environment's or else the local broker.
        now: The clock.

    Raises:
        RequestError: This is no name of a model, or no broker is named, and no local one runs.
    """

    def __init__(
        self, name: str, kafka: KafkaSettings | str | None = None, *, now: Callable[[], datetime] = _utc_now
    ) -> None:
        if Reference.parse(name) != Reference(name, alias=CHAMPION):
            raise RequestError(f"{name!r} names a version", remedy="name an experiment as a model, such as `iris`")
        self.name = name
        self.kafka = kafka if isinstance(kafka, KafkaSettings) else find_kafka(kafka)
        self._now = now

    def add_model(
        self,
        model: object,
        sample: Sample | None = None,
        *,
        labels: Labels | None = None,
        feature_names: Sequence[str] | None = None,
        alias: str | None = None,
    ) -> ModelVersion:
        """Push a model as the next version of its name. Blocks for seconds, while the model is tried.

        Args:
            model: The path of a bundle's folder; or a fitted estimator, see `millrace.serving.export.export`.
            sample: For an estimator: feature rows, best those it was validated with.
            labels: For an estimator: the true classes or values of the sample's rows.
            feature_names: For an estimator: names of the columns of a matrix.
            alias: A name that shall mean the new version, such as `challenger`.

        Raises:
            RequestError: The path is no bundle, the estimator cannot be converted or has no sample, or the model is
                refused.
        """
        models = Models(self.kafka)
        if isinstance(model, Path):
            return models.push(model, alias=alias)
        if sample is None:
            raise RequestError(
                f"there is no sample for the {type(model).__name__}",
                remedy="give feature rows, best the validation rows",
            )
        with tempfile.TemporaryDirectory(prefix="millrace-experiment-") as folder:
            origin = Origin(self.name, self._now())
            bundle = export(
                model, sample, origin=origin, directory=Path(folder), labels=labels, feature_names=feature_names
            )
            return models.push(bundle.directory, alias=alias)

    def add_evaluation(
        self,
        reference: str,
        data: Sample,
        labels: Labels,
        *,
        dataset: str = "held-out",
        python_functions: bool = False,
    ) -> EvaluationEntry:
        """Score rows with a version as it would score records, and keep how good it was beside the version.

        `millrace model show` lists it. The version stays as it is. The same rows again replace what they gave.

        Args:
            reference: `name/3`, `name@alias` or `name`.
            data: Rows that the version did not learn from; of a matrix, in the order of its signature.
            labels: Their true classes or values.
            dataset: What the rows are called.
            python_functions: Whether the model may be a Python function, whose code is trusted then.

        Raises:
            RequestError: There is no such version, the rows do not fit it, or none of them can be scored.
        """
        with self._registry() as registry:
            entry, bundle = registry.open(reference)
            model = load(bundle, version=entry.version, options=LoadOptions(python_functions=python_functions))
            try:
                evaluated = evaluate(model, data, labels)
            finally:
                model.runtime.close()
            return registry.save_evaluation(entry, evaluated, experiment=self.name, dataset=dataset)

    def batch(
        self, reference: str, source: Path | str, sink: Path | str, *, keep: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Score files with a version. See `millrace.client.batch.score_files`."""
        return score_files(self.kafka, reference, str(source), str(sink), keep=keep)

    def _registry(self) -> Registry:
        return Registry(self.kafka, Shelf.of(Settings.load()), who=who_am_i(), now=self._now)
