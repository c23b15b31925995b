"""The loop of the judge: evidence in, reports, alerts and retrain requests out, one transaction for all of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import numpy as np

from millrace.codec.evidence import read_evidence
from millrace.core.audit.report import AuditReport, Json, canonical_json
from millrace.core.audit.watch import Observation
from millrace.core.clock import Clock
from millrace.core.errors import TransientError
from millrace.core.lane import Outcome
from millrace.core.records import NextOffset, OutputBatch, RecordBatch, TopicPartition
from millrace_auditor.logic.answers import ends_heard, ends_noted, note, read_answers
from millrace_auditor.logic.judge import Judge
from millrace_auditor.logic.ports import AnswerLog, AssignedLane, EvidenceLog, Observer, Shelf

ROLE: Final = "judge"
_BATCH_RECORDS: Final = 1_000


@dataclass(frozen=True, slots=True)
class JudgeTopics:
    """Where the judge reads and writes, and for which deployment and model."""

    deployment: str
    model: str
    labels: str
    evidence: str
    audits: str
    state: str
    alerts: str
    requests: str


class JudgeLoop:
    """The judge of one deployment. One thread; of several such loops in a group one has the evidence's only partition.

    Args:
        lane: Reads the evidence topic.
        evidence: The evidence that was read before, for a judge that takes over.
        answers: What became of retrain requests.
        shelf: The state topic.
        make_judge: Makes a judge who has seen nothing.
        topics: Where to read and write.
        clock: The clock.
        observer: Is told what happened.
    """

    def __init__(
        self,
        lane: AssignedLane,
        evidence: EvidenceLog,
        answers: AnswerLog,
        shelf: Shelf,
        *,
        make_judge: Callable[[], Judge],
        topics: JudgeTopics,
        clock: Clock,
        observer: Observer,
        idle: timedelta = timedelta(milliseconds=100),
    ) -> None:
        self._lane = lane
        self._evidence = evidence
        self._answers = answers
        self._shelf = shelf
        self._make_judge = make_judge
        self._topics = topics
        self._clock = clock
        self._observer = observer
        self._idle = idle
        self._judge: Judge | None = None
        self._next_offset = 0

    def turn(self) -> None:
        """Take evidence, decide, publish. Blocks for about `idle` at most, or for one transaction.

        Raises:
            FatalError: The judge cannot go on; nothing that was committed is affected.
            RequestError: A version is not in the registry, or a record is no evidence.
        """
        try:
            polled = self._lane.poll(_BATCH_RECORDS, self._idle)
        except TransientError as error:
            self._observer.unreachable(str(error))
            return
        if polled.discard:
            self._judge = None
        if not self._lane.assigned():
            return
        try:
            self._judge_evidence(self._judge or self._take_up(), polled.records)
        except TransientError as error:
            self._lane.abort()  # what was decided and not written is decided again, from the last commit
            self._observer.unreachable(str(error))

    def _take_up(self) -> Judge:
        """Continue from what the last judge committed."""
        records, judge = self._shelf.load(0), self._make_judge()
        self._next_offset = int(records.get(_POSITION, b"0"))
        seen = self._evidence.until(self._next_offset)
        now_ms = self._clock.wall_ms()
        judge.restore(records, list(map(read_evidence, seen.values)), now_ms)
        self._answers.start(int(records.get(_ANSWERED, b"0")))
        if not records.get(_ANSWERED):
            # A judge who begins, or begins again: decisions that follow from the log so far follow from its notes.
            judge.hear(ends_noted(read_answers(self._answers.read_until_now()), self._topics.deployment))
        self._judge = judge
        self._observer.restored(ROLE, {"evidence": len(seen), "next_offset": self._next_offset})
        return judge

    def _judge_evidence(self, judge: Judge, records: RecordBatch) -> None:
        fresh = records.take(np.flatnonzero(records.offsets >= self._next_offset))
        now_ms = self._clock.wall_ms()
        judge.take(list(map(read_evidence, fresh.values)), now_ms)
        observations = list(judge.due(now_ms))
        # After what is due: an answer counts from the event time on that the evidence has reached.
        ends = ends_heard(read_answers(self._answers.read()), judge.watermark_ms)
        notes = [note(end, model=self._topics.model, deployment=self._topics.deployment) for end in judge.hear(ends)]
        if len(fresh) or observations or ends:
            if len(fresh):
                self._next_offset = int(fresh.offsets[-1]) + 1
            self._publish(judge, observations, notes)

    def _publish(self, judge: Judge, observations: Sequence[Observation], notes: Sequence[bytes]) -> None:
        started = self._clock.monotonic()
        positions = {_POSITION: b"%d" % self._next_offset, _ANSWERED: b"%d" % self._answers.next_offset}
        topics, key = self._topics, self._topics.model.encode()
        outputs = [self._batch(topics.state, list({**judge.dump(), **positions}.items()))]
        for topic, documents in (
            (topics.audits, [(_report_key(r), r.to_dict()) for o in observations for r in (o.report, *o.segments)]),
            (topics.alerts, [self._alert(alert.to_dict()) for o in observations for alert in o.decision.alerts]),
        ):
            outputs.append(self._batch(topic, [(name, canonical_json(document)) for name, document in documents]))
        requests = [self._request(o, judge) for o in observations if o.decision.request is not None]
        outputs.append(self._batch(topics.requests, [(key, value) for value in (*requests, *notes)]))
        self._lane.write(
            [batch for batch in outputs if len(batch)],
            {TopicPartition(topics.evidence, 0): NextOffset(self._next_offset)},
        )
        outcome = self._lane.commit()
        self._observer.settled(ROLE, outcome, seconds=self._clock.monotonic() - started)
        if outcome is Outcome.COMMITTED:
            for observation in observations:
                self._tell(observation)

    def _alert(self, document: Json) -> tuple[bytes, Json]:
        subject = document["feature"] or document["metric"] or "*"
        key = f"{self._topics.deployment}/{document['version']}/{document['signal']}/{subject}"
        return key.encode(), {**document, "deployment": self._topics.deployment}

    def _request(self, observation: Observation, judge: Judge) -> bytes:
        request = observation.decision.request
        document: dict[str, Any] = {} if request is None else dict(request.to_dict())
        # Of the labels no more than what the evidence so far can count: later ones came too late for the request.
        read = {str(partition): offset for partition, offset in judge.next_labels.items()}
        document["data"] = {**document["data"], "label_snapshot_offsets": {self._topics.labels: read}}
        return canonical_json({**document, "deployment": self._topics.deployment, "report_id": observation.report.id})

    def _batch(self, topic: str, records: Sequence[tuple[bytes, bytes]]) -> OutputBatch:
        count = len(records)
        now = np.full(count, self._clock.wall_ms(), np.int64)
        keys, values = zip(*records, strict=True) if records else ((), ())
        return OutputBatch(topic, np.zeros(count, np.int32), now, keys, values)

    def _tell(self, observation: Observation) -> None:
        decision, report = observation.decision, observation.report
        changes = [f"{a.signal.value} {a.feature or a.metric} {a.state.value}".strip() for a in decision.alerts]
        self._observer.judged(
            report.stage.value,
            changes,
            requests=int(decision.request is not None),
            blocked=len(decision.blockers),
        )


_POSITION: Final = b"judge-position"
_ANSWERED: Final = b"judge-answers-position"


def _report_key(report: AuditReport) -> bytes:
    subject, window = report.subject, report.window
    return f"{subject.model}/{subject.version}/{subject.segment}/{window.start_ms}".encode()
