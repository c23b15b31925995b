"""What a rollout has come to: the decisions in `<deployment>.rollouts`, beside the evidence that they rest on."""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from millrace.codec.evidence import PaneEvidence, Progress, read_evidence
from millrace.core.audit.report import canonical_json, figure
from millrace.core.errors import RequestError
from millrace.core.rollout import Outcome, PairCounts, Reading

DECISION_TYPE: Final = "rollout.decision.v1"


class Result(StrEnum):
    """What was done about a decision."""

    PENDING = "pending"
    """Nothing yet: it is written down first, so that it is carried out even if its author is killed now."""
    PROMOTED = "promoted"
    """The challenger is the champion."""
    ROLLED_BACK = "rolled_back"
    """The challenger is no longer one: it is worse."""
    KEPT = "kept"
    """The challenger is no longer one: it was not shown to be better within the pairs that were allowed."""
    PROPOSED = "proposed"
    """Nothing was done; a person decides."""
    SUPERSEDED = "superseded"
    """Somebody had moved the aliases meanwhile, and that stands."""


@dataclass(frozen=True, slots=True, order=True)
class Pairing:
    """Which two versions are compared."""

    champion: int
    challenger: int


@dataclass(frozen=True, slots=True)
class Decision:
    """The end of a comparison.

    Attributes:
        model: Name of the model.
        pairing: The versions.
        reading: What the pairs said.
        threshold: The evidence that was needed.
        until_ms: Event time up to which pairs were counted.
        result: What was done about it.
    """

    model: str
    pairing: Pairing
    reading: Reading
    threshold: float
    until_ms: int
    result: Result = Result.PENDING

    @property
    def why(self) -> str:
        """The decision in one line, with its numbers."""
        counts, reading = self.reading.counts, self.reading
        return (
            f"{_SAID[reading.outcome]}: gain {counts.gain:+.4f} on {counts.pairs} labelled events, of which the "
            f"challenger alone had {counts.challenger} right and the champion alone {counts.champion}; evidence for "
            f"better {reading.better:.3g}, for worse {reading.worse:.3g}, needed {self.threshold:g}"
        )


_SAID: Final = {
    Outcome.PROMOTE: "the challenger is better",
    Outcome.ROLL_BACK: "the challenger is worse",
    Outcome.UNDECIDED: "neither is shown to be better",
    Outcome.CONTINUE: "not decided",
}

RolloutRecord: TypeAlias = PaneEvidence | Progress | Decision


def decision_key(decision: Decision) -> bytes:
    """The record key of a decision: a later rollout of the same versions takes its place."""
    return f"decision/{decision.pairing.champion}/{decision.pairing.challenger}".encode()


def decision_value(decision: Decision) -> bytes:
    """The record value of a decision."""
    reading, counts = decision.reading, decision.reading.counts
    return canonical_json(
        {
            "type": DECISION_TYPE,
            "model": decision.model,
            "champion": decision.pairing.champion,
            "challenger": decision.pairing.challenger,
            "outcome": reading.outcome.value,
            "result": decision.result.value,
            "pairs": {"ties": counts.ties, "champion": counts.champion, "challenger": counts.challenger},
            "gain": figure(counts.gain),
            "evidence": {"better": figure(reading.better), "worse": figure(reading.worse)},
            "threshold": decision.threshold,
            "until_ms": decision.until_ms,
            "why": decision.why,
        }
    )


def read_rollout_record(value: bytes | None) -> RolloutRecord:
    """A record of the rollouts topic.

    Raises:
        RequestError: It is none.
    """
    try:
        document = json.loads(value or b"")
        if document["type"] != DECISION_TYPE:
            return read_evidence(value)
        evidence = document["evidence"]
        reading = Reading(
            Outcome(document["outcome"]),
            PairCounts(**document["pairs"]),
            float(evidence["better"]),
            float(evidence["worse"]),
        )
        pairing = Pairing(int(document["champion"]), int(document["challenger"]))
        return Decision(
            str(document["model"]),
            pairing,
            reading,
            float(document["threshold"]),
            int(document["until_ms"]),
            Result(document["result"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise RequestError(
            f"a record is none of a rollout: {error!r}", remedy="let only the auditor write to the rollouts topic"
        ) from None
