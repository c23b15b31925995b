"""From loaded models to ones that score the records of a deployment's stream."""

from dataclasses import dataclass

from millrace.codec.dead_letters import Circumstances
from millrace.codec.predictions import Identity
from millrace.core.batching import Costs
from millrace.core.clock import Clock
from millrace.core.cost import LatencyCurve
from millrace.core.resting import Rest
from millrace.core.rollout import RolloutMode
from millrace.core.signature import Signature, read_alike
from millrace.process.deployment import Deployment
from millrace.serving.loading import LoadedModel
from millrace.serving.streams import StreamCodec
from millrace_scorer.logic.lineup import Lineup, Member
from millrace_scorer.logic.rollout import RolloutScoring, Terms
from millrace_scorer.logic.scoring import ModelScoring, OutputTopics


@dataclass(frozen=True, slots=True)
class Compiler:
    """Compiles models for one deployment. See `millrace_scorer.adapters.models.Compile`."""

    deployment: Deployment
    codec: StreamCodec
    clock: Clock

    def model(self, model: LoadedModel, costs: Costs, *, degraded: bool) -> ModelScoring:
        """Compile decoders and encoders for the model."""
        deployment = self.deployment
        identity = Identity(deployment.deployment, model.name, model.version, model.digest, model.transform)
        return ModelScoring(
            identity=identity,
            decoder=self.codec.decoder(model.signature),
            engine=model.engine,
            encoder=self.codec.encoder(identity, model.signature),
            topics=OutputTopics(deployment.predictions_topic, deployment.dead_letters_topic),
            circumstances=Circumstances(deployment.deployment, f"{model.name}/{model.version}", deployment.group_id),
            costs=costs,
            clock=self.clock,
            lineup=None if degraded else Lineup(model.name, _member(identity)),
        )

    def rollout(
        self, champion: ModelScoring, challenger: ModelScoring, signatures: tuple[Signature, Signature]
    ) -> RolloutScoring:
        """Let two compiled models, given with their signatures, score together."""
        rollout = self.deployment.rollout
        terms = Terms(
            self.deployment.deployment,
            rollout.mode,
            rollout.share,
            self.deployment.shadows_topic,
            self.deployment.slo.latency / 2,
        )
        ours, theirs = champion.identity, challenger.identity
        pair = (ours, theirs) if terms.mode is RolloutMode.CANARY else (theirs, ours)
        of_silent = signatures[0 if terms.mode is RolloutMode.CANARY else 1]
        return RolloutScoring(
            champion,
            challenger,
            challenger_decoder=None if read_alike(*signatures) else challenger.decoder,
            shadows=self.codec.shadow_encoder(*pair, of_silent, terms.mode),
            terms=terms,
            costs=_copied(champion.costs),
            lineup=terms.lineup(ours.model, _member(ours), _member(theirs)),
            rest=Rest(self.clock, terms.allowance),
        )


def _member(identity: Identity) -> Member:
    return Member(identity.version, identity.digest)


def _copied(costs: Costs) -> Costs:
    """What the champion costs alone: where learning what both cost begins."""
    score, commit = (
        LatencyCurve.from_dict(curve.to_dict(), quantile=curve.quantile) for curve in (costs.score, costs.commit)
    )
    return Costs(score, commit)
