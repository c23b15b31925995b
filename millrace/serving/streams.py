"""How the records of a deployment's stream are read and its predictions written: the same for every door."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from millrace.codec.avro_framing import read_schemas
from millrace.codec.dispatch import stream_decoder
from millrace.codec.limits import Limits
from millrace.codec.native_arrow import native_arrow_decoder
from millrace.codec.native_avro import native_avro_decoder
from millrace.codec.native_fill import native_fill
from millrace.codec.native_json import native_json_decoder
from millrace.codec.predictions import AvroPredictionEncoder, Identity, JsonPredictionEncoder, PredictionEncoder
from millrace.codec.schema_source import FirstOf, SchemaSource
from millrace.codec.schemas import PREDICTION_AVRO_SCHEMA
from millrace.codec.shadows import ShadowEncoder
from millrace.codec.templates import Fill, fill
from millrace.core.clock import Clock
from millrace.core.columns import Decoder
from millrace.core.errors import RequestError
from millrace.core.rollout import RolloutMode
from millrace.core.signature import Signature
from millrace.kafka.lane.native import native_library
from millrace.process.deployment import Deployment, PredictionFormat, RecordFormat
from millrace.process.settings import LaneBody, Settings
from millrace.serving.enriching import Enricher, EnrichingDecoder, Remembered
from millrace.serving.given import Completion, GivenRowsDecoder
from millrace.serving.online_features import OnFetch, OnlineFeatures, Store
from millrace.serving.references import BlobTensors, ReferenceDecoder, row_bytes
from millrace.serving.shelf import Shelf
from millrace.store.blobs import BlobStore
from millrace.store.finding import open_online_store


@dataclass(frozen=True, slots=True)
class _Registry:
    """What is asked of a schema registry here."""

    schemas: SchemaSource
    register: Callable[[str, str], int]


class StreamCodec:
    """Compiles decoders and encoders for the models of one deployment. Close it, or use it in a `with`.

    Args:
        deployment: Whose stream.
        clock: Measures how long a registry's unknown schema ids stay unknown, and how old online features are.
        settings: Say where the online store is; not needed to read records whose predictions tell what was fetched.
        blobs: Where referenced tensors are; the store that `settings` name where absent.
        online: The online store; the one that `settings` name where absent.
        on_fetch: Told of every round trip to the online store.

    Raises:
        RequestError: A schema file cannot be read, the client of the registry or of the online store is not installed,
            or the deployment enriches and no online store is named.
    """

    def __init__(
        self,
        deployment: Deployment,
        clock: Clock,
        *,
        settings: Settings | None = None,
        blobs: BlobStore | None = None,
        online: Store | None = None,
        on_fetch: OnFetch | None = None,
    ) -> None:
        self._deployment: Final = deployment
        self._clock: Final = clock
        self._blobs: Final = Shelf.of(settings).blobs if blobs is None and settings else blobs
        wants_native = settings is not None and settings.lane is not LaneBody.PYTHON
        self._is_native: Final = wants_native and native_library() is not None
        self._fill: Final[Fill] = native_fill if self._is_native else fill
        self._on_fetch: Final = on_fetch or _tell_nobody
        self._resources: Final = ExitStack()
        self._registry = self._connect(clock)
        sources: list[SchemaSource] = []
        if deployment.source.schemas:
            sources.append(read_schemas(deployment.source.schemas))
        if self._registry is not None:
            sources.append(self._registry.schemas)
        self._schemas: Final = FirstOf(tuple(sources)) if sources else None
        if online is None and deployment.enrich and settings is not None:
            online = self._open_online(settings)
        self._online: Final = online if deployment.enrich else None

    def decoder(self, signature: Signature, *, enriched: Mapping[str, Any] | None = None) -> Decoder:
        """Reads the stream's records as rows of a model.

        Args:
            signature: The model's.
            enriched: Values of features that do not come from the record, as a prediction of it tells; then nothing is
                fetched. Where absent they are fetched as the deployment says.

        Raises:
            RequestError: The stream's format cannot carry the model's features, or no online store was named.
        """
        enricher = self._online_features(signature) if enriched is None else self._remembered(signature, enriched)
        return self.decoder_with(signature, enricher)

    def decoder_with(self, signature: Signature, enricher: Enricher | None) -> Decoder:
        """Reads the stream's records as rows of a model, whose other features this enricher knows; see `decoder`."""
        source = self._deployment.source
        return self._completing(
            signature, enricher, lambda carried: self._decoder_of(carried, source.format, source.id_field)
        )

    def completion(self, signature: Signature) -> Completion | None:
        """Completes the rows of requests, which come as columns, as `decoder` does those of records.

        None where requests bring the model's rows, and nothing is fetched.

        Raises:
            RequestError: A feature cannot be fetched as the deployment says, or no online store was named.
        """
        asked: list[Signature] = []

        def given(carried: Signature) -> Decoder:
            asked.append(carried)
            return GivenRowsDecoder(carried)

        decoder = self._completing(signature, self._online_features(signature), given)
        return None if isinstance(decoder, GivenRowsDecoder) else Completion(asked[-1], decoder)

    def encoder(self, identity: Identity, signature: Signature) -> PredictionEncoder:
        """Writes a model's predictions.

        Raises:
            RequestError: The registry refuses the predictions' schema.
            TransientError: The registry cannot be reached.
            FatalError: The registry refuses the credentials.
        """
        if self._deployment.sink.format is PredictionFormat.JSON or self._registry is None:
            return JsonPredictionEncoder(
                identity,
                signature,
                enriched=self._enriched(signature) if self._online else (),
                fill=self._fill,
            )
        subject = f"{self._deployment.predictions_topic}-value"
        schema_id = self._registry.register(subject, PREDICTION_AVRO_SCHEMA)
        return AvroPredictionEncoder(identity, signature, schema_id=schema_id, fill=self._fill)

    def shadow_encoder(
        self, silent: Identity, answering: Identity, signature: Signature, mode: RolloutMode
    ) -> ShadowEncoder:
        """Writes what a version says that does not answer, and what was fetched for it; `signature` is its own."""
        enriched = self._enriched(signature) if self._online else ()
        return ShadowEncoder(silent, answering, signature, mode, enriched=enriched, fill=self._fill)

    def close(self) -> None:
        """Let go of the registry. May be called twice."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _completing(
        self, signature: Signature, enricher: Enricher | None, innermost: Callable[[Signature], Decoder]
    ) -> Decoder:
        """A decoder around the one that reads what records carry; each layer tells the next what it needs of them."""

        def fetching(carried: Signature) -> Decoder:
            known = {feature.name for feature in carried.features}
            references = [name for name in self._deployment.source.references if name in known]
            if not references:
                return innermost(carried)
            return ReferenceDecoder(carried, references, innermost, self._tensors(carried, references))

        if enricher is None or not enricher.features:
            return fetching(signature)
        return EnrichingDecoder(signature, enricher, fetching)

    def _tensors(self, signature: Signature, references: Sequence[str]) -> BlobTensors:
        source, most = self._deployment.source, self._deployment.batch.max_records
        needed = row_bytes(signature, references)
        if needed * most > source.references_bytes:
            raise RequestError(
                f"{most} records of {needed} bytes are more than source.references_bytes, {source.references_bytes}",
                remedy=f"set batch.max_records to {max(1, source.references_bytes // needed)} or less",
            )
        if self._blobs is None:
            raise RequestError(
                f"deployment {self._deployment.deployment} has references, and no blob store is asked here",
                remedy="run it where MILLRACE_BLOBS names the store",
            )
        return BlobTensors(self._blobs)

    def _decoder_of(self, signature: Signature, form: RecordFormat, id_field: str | None = None) -> Decoder:
        limits = Limits(**self._deployment.limits.model_dump())
        decoders: dict[str, Callable[..., Decoder]] = {}
        if self._is_native:
            decoders = {"json": native_json_decoder, "avro": native_avro_decoder, "arrow": native_arrow_decoder}
        return stream_decoder(signature, form, limits=limits, id_field=id_field, schemas=self._schemas, **decoders)

    def _online_features(self, signature: Signature) -> OnlineFeatures | None:
        if not self._enriched(signature):
            return None
        if self._online is None:
            raise RequestError(
                f"deployment {self._deployment.deployment} has features from the online store, which is not asked here",
                remedy="read records that have predictions: these tell what was fetched",
            )
        return OnlineFeatures(
            signature,
            self._deployment.enrich,
            self._online,
            lambda table, spec: self._decoder_of(table, spec.format),
            clock=self._clock,
            on_fetch=self._on_fetch,
        )

    def _remembered(self, signature: Signature, values: Mapping[str, Any]) -> Remembered:
        fields = [spec.key_field for spec in self._deployment.enrich if spec.key_field is not None]
        return Remembered(signature, values, fields)

    def _enriched(self, signature: Signature) -> tuple[str, ...]:
        """The features of the model that come from the online store."""
        known = {feature.name for feature in signature.features}
        return tuple(name for spec in self._deployment.enrich for name in spec.features if name in known)

    def _open_online(self, settings: Settings) -> Store:
        wanted = f"deployment {self._deployment.deployment} has features from the online store"
        return self._resources.enter_context(open_online_store(settings, wanted=wanted))

    def _connect(self, clock: Clock) -> _Registry | None:
        if self._deployment.source.registry is None:
            return None
        # Its client comes with the extra `registry`, which streams without one do not need.
        from millrace.kafka.schema_registry import SchemaRegistry  # noqa: PLC0415

        registry = SchemaRegistry(self._deployment.source.registry, clock=clock)
        self._resources.callback(registry.close)
        return _Registry(registry, registry.register)


def _tell_nobody(*, seconds: float, defaulted: int) -> None:
    """Nobody wants to know."""
