"""The rollouts topic from its beginning, and the aliases that a rollout is about."""

import time
from typing import Final

from millrace.core.errors import TransientError
from millrace.core.records import RecordBatch
from millrace.core.rollout import Outcome
from millrace.kafka.admin import Admin
from millrace.kafka.reading import Reader, Until
from millrace.process.deployment import Deployment, Follow
from millrace.process.settings import KafkaSettings
from millrace.serving.catalogue import Reference, names_version, resolve
from millrace.serving.registry import Registry
from millrace_auditor.logic.rollout_documents import Decision, Pairing, Result

_PATIENCE_SECS: Final = 30.0
_PAUSE_SECS: Final = 0.05


class RolloutTopic:
    """See `millrace_auditor.logic.rollout.RolloutLog`."""

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        self._kafka = kafka
        self._topic = topic
        self._admin = Admin(kafka)

    def read_all(self) -> RecordBatch:
        """Every record that was written before this call and committed.

        A judge before this one may have committed a decision that is not readable yet: what lies before the end of this
        moment is waited for.
        """
        end = self._admin.high_watermarks([self._topic])[self._topic][0]
        give_up = time.monotonic() + _PATIENCE_SECS
        with Reader(self._kafka, self._topic, until=Until.STOPPED) as probe:
            while probe.bounds(0)[1] < end:
                if time.monotonic() > give_up:
                    raise TransientError(
                        f"{self._topic!r} is held back by an open transaction",
                        remedy="wait for the broker to abort it, or look for another auditor of this deployment",
                    )
                time.sleep(_PAUSE_SECS)
        with Reader(self._kafka, self._topic) as reader:
            return RecordBatch.concat([RecordBatch.empty(self._topic), *reader])


class RegistryAliases:
    """See `millrace_auditor.logic.rollout.Aliases`."""

    def __init__(self, registry: Registry, deployment: Deployment) -> None:
        self._registry = registry
        self._deployment = deployment
        self._champion = Reference.parse(deployment.model)
        self._challenger = Reference.parse(deployment.challenger)

    def pairing(self) -> Pairing | None:
        """The versions that are compared now; None while no rollout is on."""
        table = self._registry.table()
        if not names_version(table, self._deployment.challenger):
            return None
        champion, challenger = resolve(table, self._champion).version, resolve(table, self._challenger).version
        return None if champion == challenger else Pairing(champion, challenger)

    def carry_out(self, decision: Decision) -> Result:
        """Do what the decision says, unless somebody has moved the aliases meanwhile."""
        expected, wanted, result = self._swap(decision)
        if result is Result.PROPOSED:
            return result
        name, what = decision.model, f"rollout: {result.value.replace('_', ' ')}"
        swapped = self._registry.swap_aliases(name, expected=expected, wanted=wanted, what=what, why=decision.why)
        return result if swapped else Result.SUPERSEDED

    def _swap(self, decision: Decision) -> tuple[dict[str, int | None], dict[str, int | None], Result]:
        """From which aliases to which; proposed where the deployment names a version instead of an alias."""
        champion, challenger = self._champion.alias, self._challenger.alias
        pairing, outcome = decision.pairing, decision.reading.outcome
        if challenger is None:
            return {}, {}, Result.PROPOSED
        expected: dict[str, int | None] = {challenger: pairing.challenger}
        if champion is not None:
            expected[champion] = pairing.champion
        if outcome is not Outcome.PROMOTE:
            result = Result.ROLLED_BACK if outcome is Outcome.ROLL_BACK else Result.KEPT
            return expected, {challenger: None}, result
        if champion is None or self._deployment.rollout.follow is Follow.PROPOSE:
            return {}, {}, Result.PROPOSED
        return expected, {champion: pairing.challenger, challenger: None}, Result.PROMOTED
