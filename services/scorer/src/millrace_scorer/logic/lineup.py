"""Who answers: the version of a model, the one that is tried beside it, and the process that scores."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from millrace.core.errors import RequestError
from millrace.core.records import Coordinates
from millrace.core.rollout import RolloutMode

_TYPE: Final = "handover.v1"


@dataclass(frozen=True, slots=True)
class Member:
    """A model version, and the digest of its bundle."""

    version: int
    digest: str


@dataclass(frozen=True, slots=True)
class Trial:
    """A challenger, and how it is tried.

    Attributes:
        challenger: The version that is tried.
        mode: Whether it answers.
        share: The share of keys that it answers; 0 for a shadow.
    """

    challenger: Member
    mode: RolloutMode
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class Worker:
    """The process that scores.

    Attributes:
        node: The node that runs it.
        slot: Its place, such as `rain/scorer/0`.
        launch: Which process of the slot.
        environment: Fingerprint of what is installed on the node.
    """

    node: str
    slot: str
    launch: int
    environment: str


@dataclass(frozen=True, slots=True)
class Lineup:
    """The versions that answer the records of a partition, from one offset on until the next lineup.

    Attributes:
        model: Name of the model.
        champion: The version that answers, but for what a canary takes.
        trial: The rollout that is on.
        by: Who scores; None for one that no launcher started.
    """

    model: str
    champion: Member
    trial: Trial | None = None
    by: Worker | None = None

    def to_json(self, *, deployment: str, first: Coordinates, at_ms: int) -> bytes:
        """The value of a handover record: this lineup begins with the record at `first`."""
        champion, trial = self.champion, self.trial
        document: dict[str, object] = {
            "type": _TYPE,
            "deployment": deployment,
            "topic": first.topic,
            "partition": first.partition,
            "first_offset": first.offset,
            "model": self.model,
            "champion": {"version": champion.version, "digest": champion.digest},
            "mode": (trial.mode if trial else RolloutMode.NONE).value,
            "at": at_ms,
        }
        if trial is not None:
            challenger = trial.challenger
            document["challenger"] = {"version": challenger.version, "digest": challenger.digest}
            document["share"] = trial.share
        if self.by is not None:
            document["by"] = asdict(self.by)
        return json.dumps(document, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, value: bytes | None) -> Self:
        """The lineup that a handover record tells of.

        Raises:
            RequestError: It is none.
        """
        try:
            document: dict[str, Any] = json.loads(value or b"")
            if document["type"] != _TYPE:
                raise ValueError(document["type"])
            mode, trial = RolloutMode(document["mode"]), None
            if mode is not RolloutMode.NONE:
                trial = Trial(Member(**document["challenger"]), mode, float(document["share"]))
            by = Worker(**document["by"]) if "by" in document else None
            return cls(document["model"], Member(**document["champion"]), trial, by)
        except (ValueError, KeyError, TypeError) as error:
            raise RequestError(
                f"a record is no handover: {error!r}", remedy="let only scorers write to the handovers topic"
            ) from None
