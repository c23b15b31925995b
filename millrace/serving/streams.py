"""How the records of a deployment's stream are read and its predictions written: the same for every door."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from millrace.codec.dispatch import stream_decoder
from millrace.codec.limits import Limits
from millrace.codec.predictions import AvroPredictionEncoder, Identity, JsonPredictionEncoder, PredictionEncoder
from millrace.codec.schema_source import FirstOf, GivenSchemas, SchemaSource
from millrace.codec.schemas import PREDICTION_AVRO_SCHEMA
from millrace.core.clock import Clock
from millrace.core.columns import Decoder
from millrace.core.signature import Signature
from millrace.process.deployment import Deployment, PredictionFormat


@dataclass(frozen=True, slots=True)
class _Registry:
    """What is asked of a schema registry here."""

    schemas: SchemaSource
    register: Callable[[str, str], int]


class StreamCodec:
    """Compiles decoders and encoders for the models of one deployment. Close it, or use it in a `with`.

    Args:
        deployment: Whose stream.
        clock: Measures how long a registry's unknown schema ids stay unknown.

    Raises:
        RequestError: A schema file cannot be read, or the registry's client is not installed.
    """

    def __init__(self, deployment: Deployment, clock: Clock) -> None:
        self._deployment: Final = deployment
        self._resources: Final = ExitStack()
        self._registry = self._connect(clock)
        sources: list[SchemaSource] = []
        if deployment.source.schemas:
            sources.append(GivenSchemas.read(deployment.source.schemas))
        if self._registry is not None:
            sources.append(self._registry.schemas)
        self._schemas: Final = FirstOf(tuple(sources)) if sources else None

    def decoder(self, signature: Signature) -> Decoder:
        """Reads the stream's records as rows of a model.

        Raises:
            RequestError: The stream's format cannot carry the model's features.
        """
        source = self._deployment.source
        limits = Limits(**self._deployment.limits.model_dump())
        return stream_decoder(signature, source.format, limits=limits, id_field=source.id_field, schemas=self._schemas)

    def encoder(self, identity: Identity, signature: Signature) -> PredictionEncoder:
        """Writes a model's predictions.

        Raises:
            RequestError: The registry refuses the predictions' schema.
            TransientError: The registry cannot be reached.
            FatalError: The registry refuses the credentials.
        """
        if self._deployment.sink.format is PredictionFormat.JSON or self._registry is None:
            return JsonPredictionEncoder(identity, signature)
        subject = f"{self._deployment.predictions_topic}-value"
        schema_id = self._registry.register(subject, PREDICTION_AVRO_SCHEMA)
        return AvroPredictionEncoder(identity, signature, schema_id=schema_id)

    def close(self) -> None:
        """Let go of the registry. May be called twice."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _connect(self, clock: Clock) -> _Registry | None:
        if self._deployment.source.registry is None:
            return None
        # Its client comes with the extra `registry`, which streams without one do not need.
        from millrace.kafka.schema_registry import SchemaRegistry  # noqa: PLC0415

        registry = SchemaRegistry(self._deployment.source.registry, clock=clock)
        self._resources.callback(registry.close)
        return _Registry(registry, registry.register)
