"""Records of a loop for tests, with what a test does not care about filled in."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from millrace.core.audit.decisions import RetrainReason
from millrace.core.paired import PairedTest
from millrace.core.promotion import Verdict
from millrace.process.retraining import (
    Accepted,
    Blocker,
    Completed,
    Dataset,
    Evaluation,
    Interval,
    Promoted,
    Rejected,
    RequestData,
    Requested,
    RequestTrigger,
)

START: Final = datetime(1983, 3, 1, tzinfo=UTC)
"""When the first request is made: streams may be older than any wall clock."""

DIGEST: Final = "sha256:" + "0a" * 32


def requested(
    loop_id: str, *, days: float = 0.0, version: int = 1, reason: RetrainReason = RetrainReason.PERFORMANCE
) -> Requested:
    """A request that is made so many days after the first, and good for a week."""
    at = START + timedelta(days=days)
    return Requested(
        loop_id=loop_id,
        model="weather",
        version=version,
        id=f"request-{loop_id}",
        reason=reason,
        trigger=RequestTrigger(signal="error_rate"),
        data=RequestData.model_validate({"from": START - timedelta(days=900), "to": at}),
        not_before=at,
        expires=at + timedelta(days=7),
    )


def accepted(loop_id: str) -> Accepted:
    return Accepted(**_head(loop_id), at=START, features=(), labels=(), seed=7)


def rejected(loop_id: str, blocker: Blocker, why: str) -> Rejected:
    return Rejected(**_head(loop_id), at=START, blocker=blocker, why=why)


def promoted(loop_id: str) -> Promoted:
    return Promoted(**_head(loop_id), at=START, candidate=2, why="better")


def completed(loop_id: str, verdict: Verdict = Verdict.PROMOTE) -> Completed:
    interval = Interval(value=0.8, lower=0.7, upper=0.9)
    return Completed(
        **_head(loop_id),
        at=START,
        dataset=Dataset(fingerprint=DIGEST, rows=4, train=3, holdout=1, unlabelled=0, invalid=0),
        evaluation=Evaluation(
            metric="accuracy",
            test=PairedTest.MCNEMAR_EXACT,
            rows=1,
            champion=interval,
            candidate=interval,
            gain=interval,
            p_value=0.1,
        ),
        verdict=verdict,
        why="better",
        digest=DIGEST,
        candidate=None if verdict is Verdict.REFUSE else 2,
    )


def _head(loop_id: str) -> dict[str, Any]:
    return {"loop_id": loop_id, "model": "weather", "version": 1}
