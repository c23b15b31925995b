"""A gateway as a process of its own, which tests may kill."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import yaml
from gateway_stage import GatewayStage, is_ready

from millrace.process.deployment import Deployment
from millrace.testing.waiting import eventually

LONG = timedelta(seconds=30)


@contextmanager
def gateway_process(stage: GatewayStage, deployment: Deployment, folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A gateway of one deployment, ready, at the stage's addresses; killed at the end."""
    document = folder / f"{deployment.deployment}.yaml"
    document.write_text(yaml.safe_dump(deployment.document()), encoding="utf-8")
    environment = {
        **os.environ,
        "MILLRACE_KAFKA__BOOTSTRAP": stage.broker.bootstrap,
        "MILLRACE_HOME": str(stage.settings.home),
        "MILLRACE_GATEWAY__REST__PORT": str(stage.rest_port),
        "MILLRACE_GATEWAY__GRPC__PORT": str(stage.grpc_port),
    }
    command = [sys.executable, "-m", "millrace_gateway", "--file", str(document)]
    with (
        (folder / "gateway.log").open("ab") as said,
        subprocess.Popen(command, env=environment, stderr=said) as process,
    ):
        try:
            with httpx.Client(base_url=stage.url) as client:

                def started() -> bool:
                    assert process.poll() is None, (folder / "gateway.log").read_text(encoding="utf-8")
                    return is_ready(client)

                eventually(started, within=LONG, what="a gateway's readiness")
            yield process
        finally:
            process.kill()
