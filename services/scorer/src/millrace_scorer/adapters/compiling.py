"""From a loaded model to one that scores the records of a deployment's stream."""

from dataclasses import dataclass

from millrace.codec.dead_letters import Circumstances
from millrace.codec.predictions import Identity
from millrace.core.batching import Costs
from millrace.core.clock import Clock
from millrace.process.deployment import Deployment
from millrace.serving.loading import LoadedModel
from millrace.serving.streams import StreamCodec
from millrace_scorer.logic.ports import Scoring
from millrace_scorer.logic.scoring import ModelScoring, OutputTopics


@dataclass(frozen=True, slots=True)
class Compiler:
    """Compiles models for one deployment. See `millrace_scorer.adapters.models.Compile`."""

    deployment: Deployment
    codec: StreamCodec
    clock: Clock

    def __call__(self, model: LoadedModel, costs: Costs, *, degraded: bool) -> Scoring:
        """Compile decoders and encoders for the model."""
        deployment = self.deployment
        identity = Identity(deployment.deployment, model.name, model.version, model.digest)
        return ModelScoring(
            decoder=self.codec.decoder(model.signature),
            engine=model.engine,
            encoder=self.codec.encoder(identity, model.signature),
            topics=OutputTopics(deployment.predictions_topic, deployment.dead_letters_topic),
            circumstances=Circumstances(deployment.deployment, f"{model.name}/{model.version}", deployment.group_id),
            costs=costs,
            clock=self.clock,
            degraded=degraded,
        )
