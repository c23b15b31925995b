"""Measures every contestant in one run, in less than four minutes. Figures: JSON lines on stdout. A table: stderr."""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Final

import uvloop
from rich.table import Table

from millrace.process.settings import KafkaSettings
from millrace.testing.broker import temporary_broker
from millrace_gateway.adapters.grpc.generated import inference_pb2 as messages
from tests.perf.serving import contestants
from tests.perf.serving.contestants import Contestant
from tests.perf.serving.load import Connection, Measured, grpc_connections, http_connections, pace, saturate
from tests.perf.telling import console, emit

ROW: Final = (5.1, 3.5, 1.4, 0.2)
LOAD: Final = 0.7
"""Share of what a server can do at all at which its latencies are measured."""

SERVERS: Final = ("default", "in-process", "millrace")
"""MLServer in two ways, as it comes and scoring in the process of its doors; and the gateway, which is measured at the
pace of their best as well."""


@dataclass(frozen=True)
class Cell:
    """What one server showed at one door, with so many connections.

    Attributes:
        server: Its name.
        door: `rest` or `grpc`.
        connections: How many.
        most_requests_per_sec: What it answers where every connection asks again at once.
        cpu_ms_per_request: Processor time of the server for each of these.
        client_cpu_ms_per_request: The same of the client, which must not be the limit.
        paced: What it shows at `LOAD` of that.
    """

    server: str
    door: str
    connections: int
    most_requests_per_sec: int
    cpu_ms_per_request: float
    client_cpu_ms_per_request: float
    paced: Measured


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.perf.serving", description=__doc__)
    parser.add_argument("--seconds", type=float, default=6, help="length of each figure (default 6)")
    parser.add_argument("--connections", type=int, nargs="+", default=(1, 64))
    parser.add_argument("--workers", type=int, default=1, help="gateways that share the ports (default 1)")
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=SERVERS)
    options = parser.parse_args()
    emit("machine", cpus=os.cpu_count(), load=round(os.getloadavg()[0], 1), python=platform.python_version())
    subprocess.run(["bash", str(Path(__file__).with_name("mlserver.sh"))], check=True, stdout=sys.stderr)
    cells: list[Cell] = []
    with tempfile.TemporaryDirectory(prefix="millrace-perf-") as folder, _kafka() as kafka:
        name = f"iris-{uuid.uuid4().hex[:8]}"
        servers: dict[str, AbstractContextManager[Contestant]] = {
            "millrace": contestants.gateway(kafka, Path(folder) / "gateway", name=name, workers=options.workers),
            "default": contestants.mlserver(Path(folder) / "mlserver", tuned="default"),
            "in-process": contestants.mlserver(Path(folder) / "mlserver-tuned", tuned="in-process"),
        }
        for chosen in sorted(options.servers, key=SERVERS.index):
            with servers[chosen] as contestant:
                for door, count in product(("rest", "grpc"), options.connections):
                    theirs = None if chosen != "millrace" else _best(cells, door, count)
                    cell, at_their_pace = uvloop.run(_measure(contestant, door, count, options.seconds, theirs))
                    emit("serving", **asdict(cell))
                    if theirs is not None and at_their_pace is not None:
                        _emit_ratios(cell, theirs, at_their_pace, best=max(cells, key=_rate))
                    cells.append(cell)
    console.print(_table(cells))


async def _measure(
    contestant: Contestant, door: str, count: int, seconds: float, theirs: Cell | None
) -> tuple[Cell, Measured | None]:
    """One cell, and the same server at the pace at which another one was measured."""
    connections = await _connect(contestant, door, count)
    await saturate(connections, min(2.0, seconds))  # warm
    before, before_here = contestant.cpu_secs(), time.process_time()
    most = await saturate(connections, seconds / 2)
    requests = max(1.0, most * seconds / 2)
    cpu_ms = round((contestant.cpu_secs() - before) * 1000 / requests, 3)
    client_cpu_ms = round((time.process_time() - before_here) * 1000 / requests, 3)
    paced = await pace(connections, LOAD * most, seconds)
    cell = Cell(contestant.name, door, count, most, cpu_ms, client_cpu_ms, paced)
    if theirs is None:
        return cell, None
    return cell, await pace(connections, LOAD * theirs.most_requests_per_sec, seconds)


def _rate(cell: Cell) -> int:
    return cell.most_requests_per_sec


def _best(cells: Sequence[Cell], door: str, count: int) -> Cell | None:
    """The best of the other servers at this door, with so many connections."""
    return max((cell for cell in cells if (cell.door, cell.connections) == (door, count)), key=_rate, default=None)


def _emit_ratios(ours: Cell, theirs: Cell, at_their_pace: Measured, *, best: Cell) -> None:
    """The gateway beside the best MLServer of the same cell, and beside its best cell of all."""
    emit(
        "ratio",
        door=ours.door,
        connections=ours.connections,
        rate=round(_rate(ours) / _rate(theirs), 2),
        rate_of_best_cell=round(_rate(ours) / _rate(best), 2),
        p99=round(ours.paced.p99_ms / theirs.paced.p99_ms, 2),
        p99_at_their_pace=round(at_their_pace.p99_ms / theirs.paced.p99_ms, 2),
        p99_ms_at_their_pace=at_their_pace.p99_ms,
    )


def _table(cells: Sequence[Cell]) -> Table:
    table = Table(
        *("server", "door", "connections", "most requests/s", "CPU ms", "client's CPU ms"),
        *("at requests/s", "p50 ms", "p99 ms", "failed"),
    )
    for cell in cells:
        head = (cell.server, cell.door, cell.connections, cell.most_requests_per_sec)
        costs = (cell.cpu_ms_per_request, cell.client_cpu_ms_per_request)
        table.add_row(*map(str, (*head, *costs, *asdict(cell.paced).values())))
    return table


async def _connect(contestant: Contestant, door: str, count: int) -> list[Connection]:
    if door == "rest":
        tensor = {"name": "features", "shape": [1, 4], "datatype": "FP32", "data": list(ROW)}
        body = json.dumps({"inputs": [tensor]}).encode()
        path = f"/v2/models/{contestant.model}/infer"
        return await http_connections("127.0.0.1", contestant.rest_port, path, body, count)
    tensor_message = messages.ModelInferRequest.InferInputTensor(name="features", datatype="FP32", shape=[1, 4])
    tensor_message.contents.fp32_contents.extend(ROW)
    message = messages.ModelInferRequest(model_name=contestant.model, inputs=[tensor_message])
    return grpc_connections(f"127.0.0.1:{contestant.grpc_port}", message.SerializeToString(), count)


@contextmanager
def _kafka() -> Iterator[KafkaSettings]:
    if bootstrap := os.environ.get("MILLRACE_TEST_BOOTSTRAP"):
        yield KafkaSettings(bootstrap=bootstrap)
        return
    with temporary_broker() as broker:
        yield broker.kafka


if __name__ == "__main__":
    main()
