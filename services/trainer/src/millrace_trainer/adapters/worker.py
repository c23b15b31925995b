"""Carries out what the ledger says is to be done, and writes the answers."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, assert_never

from millrace.core.baseline import Estimate
from millrace.core.columns import Decoder
from millrace.core.errors import MillraceError, RequestError
from millrace.core.paired import Comparison
from millrace.core.promotion import Judgement, PromotionPolicy, Verdict, judge
from millrace.core.signature import Signature
from millrace.kafka.appending import AppendLog, Entry
from millrace.kafka.history import read_history
from millrace.process.deployment import Enrichment
from millrace.process.retraining import (
    Accepted,
    Completed,
    Dataset,
    Evaluation,
    Failed,
    Interval,
    LoopAnswer,
    Promoted,
    Proposed,
    Refused,
    Rejected,
    Requested,
    read_loop_record,
    write_loop_record,
)
from millrace.process.settings import KafkaSettings
from millrace.serving.admission import admit
from millrace.serving.bundle import Bundle
from millrace.serving.catalogue import CHALLENGER, CHAMPION
from millrace.serving.loading import load
from millrace.serving.manifest import SignatureDocument, TrainingSource
from millrace.serving.registry import Registry
from millrace.serving.streams import StreamCodec
from millrace.telemetry.trainer import TrainingStage
from millrace_trainer.adapters.dataset import Materialised, Materialiser
from millrace_trainer.adapters.evaluation import evaluate
from millrace_trainer.adapters.logged_features import LoggedFeatures
from millrace_trainer.adapters.ranges import feature_ranges, label_ranges
from millrace_trainer.adapters.running import Call, TrainingError, run_training
from millrace_trainer.adapters.telemetry import Telemetry
from millrace_trainer.logic.ledger import Accept, Action, Conclude, Ledger, Loop, Reject, Train
from millrace_trainer.logic.rollout import Await, Begin, Ended, is_tried, next_step
from millrace_trainer.logic.window import WindowPolicy, training_window


@dataclass(frozen=True, slots=True)
class Plan:
    """How a model is trained.

    Attributes:
        features: The topic of features.
        labels: The topic of labels.
        enrich: Features that come from the online store.
        predictions: The topic that tells what was fetched; None where nothing is.
        call: The training function.
        seed: For everything random.
        window: How much of the past to use.
        label_events: Most events whose labels are held in memory.
        promotion: When a candidate is good enough.
        rollout_limit: How long to wait for the end of a rollout.
    """

    features: str
    labels: str
    enrich: Sequence[Enrichment]
    predictions: str | None
    call: Call
    seed: int
    window: WindowPolicy
    label_events: int
    promotion: PromotionPolicy
    rollout_limit: timedelta


@dataclass(frozen=True, slots=True)
class Worker:
    """Does one action after the other. Every action may be done again after a crash: the outcome is the same.

    Attributes:
        kafka: The cluster.
        log: The requests and answers of the model.
        registry: The models.
        codec: How feature records are read.
        plan: How the model is trained.
        folder: Where files are while they are needed.
        now: The clock of answers.
        keep_alive: Called often while something takes long; what it raises ends the work.
        telemetry: Is told what happened.
    """

    kafka: KafkaSettings
    log: AppendLog
    registry: Registry
    codec: StreamCodec
    plan: Plan
    folder: Path
    now: Callable[[], datetime]
    keep_alive: Callable[[], None]
    telemetry: Telemetry

    def carry_out(self, action: Action) -> list[tuple[int, LoopAnswer]]:
        """Do it, and return what was written to the log, with offsets.

        Raises:
            TransientError: The broker or a store is away; the log says where to go on.
            FatalError: Another trainer has taken over, or the broker refuses this client.
        """
        match action:
            case Reject(loop, blocker, why):
                return self._write(Rejected(**_head(loop.request), at=self.now(), blocker=blocker, why=why))
            case Accept(loop):
                return self._write(self._accept(loop.request))
            case Train(loop, accepted):
                return self._train(loop, accepted)
            case Conclude(completed):
                return self._conclude(completed)
            case _:
                assert_never(action)

    def _accept(self, request: Requested) -> LoopAnswer:
        start, end = training_window(request.data, request.trigger, self.plan.window)
        try:
            features = feature_ranges(self.kafka, self.plan.features, start, end)
            labels = label_ranges(self.kafka, self.plan.labels, request.data)
            told = self.plan.predictions
            predictions = () if told is None else feature_ranges(self.kafka, told, start, end)
        except RequestError as error:
            return Failed(**_head(request), at=self.now(), why=str(error))
        return Accepted(
            **_head(request),
            at=self.now(),
            features=features,
            labels=labels,
            predictions=predictions,
            seed=self.plan.seed,
        )

    def _train(self, loop: Loop, accepted: Accepted) -> list[tuple[int, LoopAnswer]]:
        self.folder.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="training-", dir=self.folder))
        head = _head(loop.request)
        try:
            return self._write(self._candidate(loop.request, accepted, folder))
        except TrainingError as error:
            return self._write(Failed(**head, at=self.now(), why=error.message, log=error.log))
        except RequestError as error:
            return self._write(Failed(**head, at=self.now(), why=str(error)))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _candidate(self, request: Requested, accepted: Accepted, folder: Path) -> Completed:
        entry, bundle = self.registry.open(f"{request.model}/{request.version}")
        with self.telemetry.stage(TrainingStage.MATERIALISE):
            made = self._materialise(bundle, accepted, folder)
        with self.telemetry.stage(TrainingStage.TRAIN):
            task = self._task(request, accepted, bundle, made)
            candidate = run_training(self.plan.call, task, folder, self.keep_alive)
        with self.telemetry.stage(TrainingStage.EVALUATE):
            comparison = self._evaluate(bundle, entry.version, candidate, made)
        judgement = judge(comparison, self.plan.promotion)
        version = None if judgement.verdict is Verdict.REFUSE else self.registry.push(candidate.directory)
        return _completed(
            request,
            self.now(),
            dataset=made.facts,
            comparison=comparison,
            judgement=judgement,
            digest=candidate.digest if version is None else version.digest,
            candidate=None if version is None else version.version,
        )

    def _materialise(self, champion: Bundle, accepted: Accepted, folder: Path) -> Materialised:
        materialiser = Materialiser(
            kafka=self.kafka,
            decoder=self._decoder(champion.accepts, accepted),
            signature=champion.accepts,
            window=self.plan.window,
            label_events=self.plan.label_events,
            keep_alive=self.keep_alive,
        )
        return materialiser.materialise(accepted, folder)

    def _decoder(self, signature: Signature, accepted: Accepted) -> Decoder:
        """Reads feature records, and beside each what was fetched for it when it was scored."""
        enrich = self.plan.enrich
        if not enrich:
            return self.codec.decoder(signature)
        logged = LoggedFeatures(
            self.kafka,
            signature,
            {name for each in enrich for name in each.features},
            [each.key_field for each in enrich if each.key_field is not None],
            source=self.plan.features,
            ranges=accepted.predictions,
            keep_alive=self.keep_alive,
        )
        return self.codec.decoder_with(signature, logged)

    def _task(self, request: Requested, accepted: Accepted, champion: Bundle, made: Materialised) -> dict[str, Any]:
        training = TrainingSource(topics=accepted.ranges, rows=made.facts.train)
        return {
            "model": request.model,
            "task": champion.signature.task.value,
            "signature": SignatureDocument.of(champion.signature).model_dump_json(),
            "transform": None if champion.program is None else champion.program.transform.document(),
            "training": training.model_dump_json(),
            # Not the time now: a training that is repeated after a crash shall give the same bundle.
            "created_at": accepted.at.isoformat(),
            "seed": accepted.seed,
            "request": request.model_dump(mode="json", by_alias=True),
            "train": str(made.train),
            "holdout": str(made.holdout),
        }

    def _evaluate(self, champion: Bundle, version: int, candidate: Bundle, made: Materialised) -> Comparison:
        admit(candidate)  # in a process without rights, before this one loads it
        with closing(load(champion, version=version)) as old, closing(load(candidate)) as new:
            return evaluate(old, new, made.holdout, self.keep_alive)

    def _conclude(self, completed: Completed) -> list[tuple[int, LoopAnswer]]:
        head, at, why = _head(completed), self.now(), completed.why
        if completed.candidate is None:
            return self._write(Refused(**head, at=at, why=why))
        champion = self.registry.aliases(completed.model).get(CHAMPION)
        if completed.verdict is Verdict.TRY:
            return self._try(completed, completed.candidate)
        if champion not in {completed.version, completed.candidate}:
            # Somebody has chosen another champion meanwhile, with which the candidate was never compared.
            return self._write(Refused(**head, at=at, why=f"version {champion} became the champion meanwhile"))
        reference = f"{completed.model}/{completed.candidate}"
        if completed.verdict is Verdict.PROMOTE:
            self.registry.set_alias(CHAMPION, reference)
            return self._write(Promoted(**head, at=at, candidate=completed.candidate, why=why))
        self.registry.set_alias(CHALLENGER, reference)
        return self._write(Proposed(**head, at=at, candidate=completed.candidate, why=why))

    def _try(self, completed: Completed, candidate: int) -> list[tuple[int, LoopAnswer]]:
        """Begin a rollout, or see whether it has ended; nothing is written while it is on."""
        head, at, name = _head(completed), self.now(), completed.model
        aliases = self.registry.aliases(name)
        entries = () if is_tried(completed, aliases) else read_history(self.kafka, subject=f"model/{name}")
        match next_step(completed, aliases, (record.entry for record in entries)):
            case Begin():
                self.registry.swap_aliases(
                    name,
                    expected={CHAMPION: completed.version},
                    wanted={CHALLENGER: candidate},
                    what="begin rollout",
                    why=completed.why,
                )
            case Await() if at - completed.at > self.plan.rollout_limit:
                why = f"no rollout has decided within {self.plan.rollout_limit}: does a deployment set rollout.mode?"
                return self._write(Proposed(**head, at=at, candidate=candidate, why=why))
            case Await():
                pass
            case Ended(True, why):
                return self._write(Promoted(**head, at=at, candidate=candidate, why=why))
            case Ended(_, why):
                return self._write(Refused(**head, at=at, why=why))
        return []

    def _write(self, answer: LoopAnswer) -> list[tuple[int, LoopAnswer]]:
        [entry] = self.log.append([write_loop_record(answer)])
        self.telemetry.answered(answer)
        return [(entry.offset, answer)]


def read_ledger(entries: Sequence[Entry], ledger: Ledger, on_invalid: Callable[[MillraceError], None]) -> Ledger:
    """The ledger with what was read from the log. A record that is none of a loop is reported, and changes nothing."""
    records = []
    for entry in entries:
        try:
            records.append((entry.offset, read_loop_record(entry.value, subject=f"offset {entry.offset}")))
        except RequestError as error:
            on_invalid(error)
    return ledger.after(records)


def utc_now() -> datetime:
    """The time, with its zone."""
    return datetime.now(UTC)


def _head(record: Requested | Completed) -> dict[str, Any]:
    return {"loop_id": record.loop_id, "model": record.model, "version": record.version}


def _completed(
    request: Requested,
    at: datetime,
    *,
    dataset: Dataset,
    comparison: Comparison,
    judgement: Judgement,
    digest: str,
    candidate: int | None,
) -> Completed:
    return Completed(
        **_head(request),
        at=at,
        dataset=dataset,
        evaluation=Evaluation(
            metric="accuracy" if comparison.metric == "accuracy" else "mae",
            test=comparison.test,
            rows=comparison.rows,
            champion=_interval(comparison.champion),
            candidate=_interval(comparison.candidate),
            gain=Interval(value=comparison.gain, lower=comparison.lower, upper=comparison.upper),
            p_value=comparison.p_value,
        ),
        verdict=judgement.verdict,
        why=judgement.why,
        digest=digest,
        candidate=candidate,
    )


def _interval(estimate: Estimate) -> Interval:
    return Interval(value=estimate.value, lower=estimate.lower, upper=estimate.upper)
