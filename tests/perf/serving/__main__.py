"""Measures every contestant in one run. Figures: JSON lines on stdout. A table: stderr."""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

import uvloop
from rich.console import Console
from rich.table import Table

from millrace.process.settings import KafkaSettings
from millrace.testing.broker import temporary_broker
from millrace_gateway.adapters.grpc.generated import inference_pb2 as messages
from tests.perf.serving import contestants
from tests.perf.serving.contestants import Contestant
from tests.perf.serving.load import Connection, Measured, grpc_connections, http_connections, pace, saturate

ROW: Final = (5.1, 3.5, 1.4, 0.2)
LOAD: Final = 0.7
"""Share of what a server can do at all at which its latencies are measured."""

SERVERS: Final = ("millrace", "default", "in-process")
"""The gateway, and MLServer in two ways: as it comes, and scoring in the process of its doors."""

console = Console(stderr=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.perf.serving", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8, help="length of each figure (default 8)")
    parser.add_argument("--connections", type=int, nargs="+", default=(1, 64))
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=SERVERS)
    options = parser.parse_args()
    _emit("machine", cpus=os.cpu_count(), load=round(os.getloadavg()[0], 1), python=platform.python_version())
    subprocess.run(["bash", str(Path(__file__).with_name("mlserver.sh"))], check=True, stdout=sys.stderr)
    table = Table(
        "server", "door", "connections", "most requests/s", "CPU ms", "at requests/s", "p50 ms", "p99 ms", "failed"
    )
    with tempfile.TemporaryDirectory(prefix="millrace-perf-") as folder, _kafka() as kafka:
        name = f"iris-{uuid.uuid4().hex[:8]}"
        servers: dict[str, AbstractContextManager[Contestant]] = {
            "millrace": contestants.gateway(kafka, Path(folder) / "gateway", name=name),
            "default": contestants.mlserver(Path(folder) / "mlserver", tuned="default"),
            "in-process": contestants.mlserver(Path(folder) / "mlserver-tuned", tuned="in-process"),
        }
        for chosen in options.servers:
            with servers[chosen] as contestant:
                for door in ("rest", "grpc"):
                    for count in options.connections:
                        most, cpu_ms, measured = uvloop.run(_measure(contestant, door, count, options.seconds))
                        figures = {"most_requests_per_sec": most, "cpu_ms_per_request": cpu_ms, **asdict(measured)}
                        _emit("serving", server=contestant.name, door=door, connections=count, **figures)
                        table.add_row(
                            contestant.name, door, str(count), str(most), *map(str, asdict(measured).values())
                        )
    console.print(table)


async def _measure(contestant: Contestant, door: str, count: int, seconds: float) -> tuple[int, float, Measured]:
    connections = await _connect(contestant, door, count)
    await saturate(connections, min(2.0, seconds))  # warm
    before = contestant.cpu_secs()
    most = await saturate(connections, seconds / 2)
    cpu_ms = (contestant.cpu_secs() - before) * 1000 / max(1, most * seconds / 2)
    return most, round(cpu_ms, 3), await pace(connections, LOAD * most, seconds)


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


def _emit(figure: str, **fields: object) -> None:
    sys.stdout.write(json.dumps({"figure": figure, **fields}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
