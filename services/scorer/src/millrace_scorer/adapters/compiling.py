"""From a loaded model to one that scores the records of a deployment's stream."""

from dataclasses import dataclass

from millrace.codec.dead_letters import Circumstances
from millrace.codec.dispatch import stream_decoder
from millrace.codec.limits import Limits
from millrace.codec.predictions import Identity, JsonPredictionEncoder, PredictionEncoder
from millrace.codec.schema_source import GivenSchemas, SchemaSource
from millrace.core.batching import Costs
from millrace.core.clock import Clock
from millrace.process.deployment import Deployment
from millrace.serving.loading import LoadedModel
from millrace_scorer.logic.ports import Scoring
from millrace_scorer.logic.scoring import ModelScoring, OutputTopics


@dataclass(frozen=True, slots=True)
class Compiler:
    """Compiles models for one deployment. See `millrace_scorer.adapters.models.Compile`."""

    deployment: Deployment
    clock: Clock

    def __call__(self, model: LoadedModel, costs: Costs, *, degraded: bool) -> Scoring:
        """Compile decoders and encoders for the model."""
        deployment = self.deployment
        identity = Identity(deployment.deployment, model.name, model.version, model.digest)
        return ModelScoring(
            decoder=stream_decoder(
                model.signature,
                deployment.source.format,
                limits=Limits(**deployment.limits.model_dump()),
                id_field=deployment.source.id_field,
                schemas=self._schemas(),
            ),
            engine=model.engine,
            encoder=self._encoder(identity, model),
            topics=OutputTopics(deployment.predictions_topic, deployment.dead_letters_topic),
            circumstances=Circumstances(deployment.deployment, f"{model.name}/{model.version}", deployment.group_id),
            costs=costs,
            clock=self.clock,
            degraded=degraded,
        )

    def _schemas(self) -> SchemaSource | None:
        source = self.deployment.source
        return GivenSchemas.read(source.schemas) if source.schemas else None

    def _encoder(self, identity: Identity, model: LoadedModel) -> PredictionEncoder:
        return JsonPredictionEncoder(identity, model.signature)
