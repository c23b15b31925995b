"""A gateway that is killed: subscribers go on where they were, and nobody waits for ever."""

import asyncio
from datetime import timedelta
from pathlib import Path

import httpx
from event_stream import Follower
from gateway_process import gateway_process
from gateway_stage import GatewayStage
from prediction_topic import PredictionTopic

from millrace.process.deployment import Deployment
from millrace.testing.broker import Broker
from millrace.testing.waiting import eventually

CLIENTS = 50
DEADLINE = timedelta(seconds=10)


def test_a_subscriber_of_a_gateway_that_is_killed_loses_and_repeats_nothing(
    broker: Broker, stage: GatewayStage, deployment: Deployment, tmp_path: Path
) -> None:
    topic = PredictionTopic(broker, deployment=deployment.deployment)
    follower = Follower(stage.url, topic.path, "0:0,1:0")
    follower.start()
    written: list[int] = []
    try:
        for _ in range(2):
            with gateway_process(stage, deployment, tmp_path) as gateway:
                for _ in range(10):
                    written += topic.write(50)
                gateway.kill()  # wherever it is
            written += topic.write(20)
        with gateway_process(stage, deployment, tmp_path):
            eventually(lambda: len(follower.numbers) >= len(written), within=timedelta(seconds=120))
            follower.enough.set()
            (last,) = topic.write(1)  # wakes it up
            follower.join(30)
    finally:
        follower.enough.set()
    assert sorted(follower.numbers) == [*written, last]


def test_nobody_waits_beyond_the_deadline_when_a_gateway_is_killed(
    stage: GatewayStage, deployment: Deployment, tmp_path: Path
) -> None:
    stream = f"/v1/deployments/{deployment.deployment}/predictions"
    infer = f"/v2/models/{deployment.deployment}/infer"
    ask = {"inputs": [{"name": "features", "shape": [1, 3], "datatype": "FP32", "data": [1.0, 2.0, 3.0]}]}
    answered: list[int] = []
    busy = asyncio.Event()

    async def follow(client: httpx.AsyncClient) -> None:
        async with client.stream("GET", stream, timeout=DEADLINE.total_seconds()) as events:
            async for _ in events.aiter_lines():
                pass

    async def keep_asking(client: httpx.AsyncClient) -> None:
        while True:
            answered.append((await client.post(infer, json=ask, timeout=DEADLINE.total_seconds())).status_code)
            if len(answered) >= 10 * CLIENTS:
                busy.set()

    async def everybody() -> list[object]:
        limits = httpx.Limits(max_connections=2 * CLIENTS)
        async with httpx.AsyncClient(base_url=stage.url, limits=limits) as client:
            tasks = [asyncio.create_task(work(client)) for work in (follow, keep_asking) for _ in range(CLIENTS)]
            with gateway_process(stage, deployment, tmp_path) as gateway:
                async with asyncio.timeout(60):
                    await busy.wait()
                gateway.kill()
                async with asyncio.timeout(DEADLINE.total_seconds()):
                    return await asyncio.gather(*tasks, return_exceptions=True)

    outcomes = asyncio.run(everybody())
    assert len(outcomes) == 2 * CLIENTS
    assert all(isinstance(outcome, httpx.TransportError) for outcome in outcomes)
    assert set(answered) == {200}
