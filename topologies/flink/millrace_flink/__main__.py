"""The command line of the jobs."""

import argparse
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

from pyflink.table import TableResult

from millrace.core.errors import MillraceError, RequestError
from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.finding import find_kafka, read_deployment
from millrace.kafka.outputs import ensure_alike, ensure_output_topics
from millrace.process.deployment import Deployment, RecordFormat
from millrace.process.document import read_document
from millrace.process.lifecycle import ExitCode
from millrace.process.settings import Settings
from millrace.serving.audited import Versions, window_spec
from millrace.serving.registry import Registry
from millrace.serving.shelf import Shelf
from millrace.transform import Program
from millrace_flink.functions.evidence import Audited
from millrace_flink.functions.model import Assignment
from millrace_flink.jobs.evidence import gather_evidence
from millrace_flink.jobs.features import Features, make_features
from millrace_flink.jobs.score import score
from millrace_flink.session import SessionSettings, open_session

_EPILOG: Final = """\
examples:
  python -m millrace_flink score --file rain.yaml                    score the stream, with a Flink in this process
  python -m millrace_flink score --file rain.yaml --until-end        score what is there, then end
  python -m millrace_flink score --name rain --cluster flink:8081    on a cluster

Kafka's address comes from MILLRACE_KAFKA__BOOTSTRAP, or from the local broker that `millrace up` started.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a job; the exit code says how it ended."""
    options = _parser().parse_args(arguments)
    try:
        options.act(options)
    except MillraceError as error:
        sys.stderr.write(f"error: {error.message}\n" + (f"remedy: {error.remedy}\n" if error.remedy else ""))
        return int(ExitCode.REFUSED if isinstance(error, RequestError) else ExitCode.FAILED)
    except KeyboardInterrupt:
        return int(ExitCode.ABORTED)
    return 0


def _score(options: argparse.Namespace) -> None:
    settings = Settings.load()
    kafka = find_kafka(settings)
    deployment = Deployment.load(options.file) if options.file else read_deployment(kafka, options.name)
    ensure_output_topics(Admin(kafka), deployment)
    with Registry(kafka, Shelf.of(settings), who=f"flink/{deployment.deployment}") as registry:
        entry, _ = registry.open(deployment.model)
    with open_session(_session(options)) as tables:
        assignment = Assignment(deployment, entry.version, entry.digest, settings)
        _follow(score(tables, assignment, kafka, bounded=options.until_end))


def _features(options: argparse.Namespace) -> None:
    kafka = find_kafka(Settings.load())
    program = Program.load(read_document(options.transform), subject=str(options.transform))
    letters = options.dead_letters or f"{options.to}.dlq"
    ensure_alike(Admin(kafka), options.source, [options.to, letters])
    silence = None if options.silence_secs is None else timedelta(seconds=options.silence_secs)
    wanted = Features(program, options.source, RecordFormat(options.format), options.to, letters, silence)
    with open_session(_session(options)) as tables:
        _follow(make_features(tables, wanted, kafka, bounded=options.until_end))


def _evidence(options: argparse.Namespace) -> None:
    settings = Settings.load()
    kafka = find_kafka(settings)
    deployment = Deployment.load(options.file) if options.file else read_deployment(kafka, options.name)
    with Registry(kafka, Shelf.of(settings), who=f"flink/{deployment.deployment}") as registry:
        versions = Versions(registry, deployment)
        numbers = [entry.version for entry in registry.versions(versions.model)]
        audited = Audited(
            versions.model,
            versions.task,
            versions.classes,
            {number: versions.layout(number) for number in numbers},
            {number: versions.segments(number) for number in numbers},
            window_spec(deployment.audit),
        )
    to = options.to or f"{deployment.deployment}.evidence"
    Admin(kafka).ensure_topics([TopicSpec(to, 1, {"cleanup.policy": "compact"})])
    with open_session(_session(options), batch=True) as tables:
        _follow(gather_evidence(tables, audited, deployment, kafka, to=to))


def _follow(job: TableResult) -> None:
    sys.stdout.write(f"job {job.get_job_client().get_job_id()}\n")
    sys.stdout.flush()
    job.wait()


def _session(options: argparse.Namespace) -> SessionSettings:
    return SessionSettings(
        parallelism=options.parallelism,
        checkpoint_every=timedelta(seconds=options.checkpoint_secs),
        cluster=options.cluster,
        checkpoints=options.checkpoints,
        further=dict(options.set),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m millrace_flink",
        description="Runs jobs of millrace on Flink.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    jobs = parser.add_subparsers(required=True, metavar="JOB")
    scoring = jobs.add_parser("score", help="a deployment's topic to its predictions")
    _add_deployment(scoring)
    scoring.set_defaults(act=_score)
    _add_until_end(scoring)
    _add_running(scoring)
    making = jobs.add_parser("features", help="a topic of records to a topic of windowed features")
    making.add_argument("--transform", type=Path, required=True, metavar="PATH", help="exported transform, one window")
    making.add_argument("--from", dest="source", required=True, metavar="TOPIC", help="topic of records")
    making.add_argument("--to", required=True, metavar="TOPIC", help="topic of features")
    making.add_argument("--dead-letters", metavar="TOPIC", help="records that cannot be read (default: <to>.dlq)")
    making.add_argument(
        "--format", choices=[str(each) for each in RecordFormat], default="json", help="of the records (default json)"
    )
    making.add_argument(
        "--silence-secs",
        type=float,
        metavar="S",
        help="close a silent key's windows when event time is so far beyond them; absent: they wait for the key",
    )
    making.set_defaults(act=_features)
    _add_until_end(making)
    _add_running(making)
    gathering = jobs.add_parser("evidence", help="all predictions and labels of a deployment to evidence for the judge")
    _add_deployment(gathering)
    gathering.add_argument("--to", metavar="TOPIC", help="topic of evidence (default: <deployment>.evidence)")
    gathering.set_defaults(act=_evidence)
    _add_running(gathering)
    return parser


def _add_deployment(job: argparse.ArgumentParser) -> None:
    which = job.add_mutually_exclusive_group(required=True)
    which.add_argument("--file", type=Path, metavar="PATH", help="deployment document, YAML or JSON")
    which.add_argument("--name", metavar="DEPLOYMENT", help="name of a deployment in the topic millrace.deployments")


def _add_until_end(job: argparse.ArgumentParser) -> None:
    job.add_argument("--until-end", action="store_true", help="end where the topics end now")


def _add_running(job: argparse.ArgumentParser) -> None:
    """The options that say how a job runs."""
    job.add_argument("--parallelism", type=int, default=1, metavar="N", help="subtasks of each operator (default 1)")
    job.add_argument(
        "--checkpoint-secs",
        type=float,
        default=1.0,
        metavar="S",
        help="seconds between checkpoints, each of which makes what was written readable (default 1)",
    )
    job.add_argument("--checkpoints", metavar="URI", help="where checkpoints are kept; in memory where absent")
    job.add_argument("--cluster", metavar="HOST:PORT", help="REST address of a cluster; absent: Flink in this process")
    job.add_argument(
        "--set", type=_pair, action="append", default=[], metavar="KEY=VALUE", help="one of Flink's own settings"
    )


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


if __name__ == "__main__":
    sys.exit(main())
