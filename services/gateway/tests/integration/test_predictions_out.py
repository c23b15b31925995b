"""Predictions out, on a real broker: every protocol, every start, filters, resuming, slow readers."""

import contextlib
import itertools
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import httpx
import orjson
import pytest
import websockets.sync.client as ws
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from event_stream import event_source
from gateway_stage import GatewayStage
from prediction_topic import PredictionTopic
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.typing import Origin

from millrace.kafka.broker import LocalBroker
from millrace.process.settings import Settings
from millrace.testing.broker import Broker
from millrace.testing.waiting import eventually
from millrace_gateway.adapters.grpc.generated import predictions_pb2 as messages


@pytest.fixture
def topic(broker: Broker) -> PredictionTopic:
    return PredictionTopic(broker)


@pytest.fixture
def client(stage: GatewayStage) -> Iterator[httpx.Client]:
    with stage.running(options=stage.options(subscriptions={"heartbeat_secs": 0.3})) as client:
        yield client


def metric(client: httpx.Client, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def test_a_subscriber_gets_what_is_written_from_then_on(client: httpx.Client, topic: PredictionTopic) -> None:
    topic.write(3)
    with event_source(client, topic.path) as events:
        numbers = topic.write(4)
        assert sorted(events.listen(4)) == numbers
    first = events.events[0][1]
    assert first["at"].startswith(topic.topic)
    assert first["key"] in {"k0", "k1"}


def test_the_past_and_then_the_present(client: httpx.Client, topic: PredictionTopic) -> None:
    past = topic.write(50)
    with event_source(client, topic.path, start="earliest") as events:
        assert sorted(events.listen(50)) == past
        eventually(lambda: metric(client, "millrace_gateway_catching_up_subscribers") == 0)
        present = topic.write(50)
        assert sorted(events.listen(100)) == past + present


def test_a_time_is_a_place_to_begin(client: httpx.Client, topic: PredictionTopic) -> None:
    numbers = topic.write(2)
    for start in ("1m", (datetime.now(UTC) - timedelta(minutes=1)).isoformat()):
        with event_source(client, topic.path, start=start) as events:
            assert sorted(events.listen(2)) == numbers


def test_every_id_is_an_exact_place(client: httpx.Client, topic: PredictionTopic) -> None:
    topic.write(6)
    with event_source(client, topic.path, start="earliest") as events:
        whole = [events.last_id]
        while len(events.numbers) < 6:
            events.hear()
            whole.append(events.last_id)
    for index, place in enumerate(whole):
        with event_source(client, topic.path, last_id=place, start="latest") as again:
            got = again.listen(6 - index)
            # Partitions may come in another order; what came before the id does not come again.
            assert sorted(got) == sorted(events.numbers[index:])
        with event_source(client, topic.path, start=place) as again:
            assert sorted(again.listen(6 - index)) == sorted(events.numbers[index:])


def test_what_is_deleted_already_is_said(client: httpx.Client, broker: Broker, topic: PredictionTopic) -> None:
    numbers = topic.write(6)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    for done in admin.delete_records([TopicPartition(topic.topic, 0, 2)]).values():
        done.result(10)
    with event_source(client, topic.path, start="0:0,1:0") as events:
        left = sorted(set(numbers) - {0, 2})  # the first two of the first partition
        assert sorted(events.listen(4)) == left
    assert events.events[0] == ("deleted", {"0": 2})


def test_filters(client: httpx.Client, topic: PredictionTopic) -> None:
    low = topic.write(4, score=0.2)
    high = topic.write(4, score=0.9, version=2)
    for params, expected in (
        ({"version": 2}, high),
        ({"class": "yes", "max_score": 0.3}, low),
        ({"class": "no", "max_score": 0.3}, high),
        ({"key": ["k1"]}, [number for number in low + high if number % 2]),
        ({"key": ["k0", "k1"], "min_score": 0.5}, high),
    ):
        with event_source(client, topic.path, start="earliest", **params) as events:
            assert sorted(events.listen(len(expected))) == expected
    # What was left out is behind the place all the same.
    with event_source(client, topic.path, start="earliest", version=7) as events:
        eventually(lambda: events.hear() and events.last_id == "0:4,1:4")


def test_what_is_no_prediction_is_passed_over(client: httpx.Client, topic: PredictionTopic) -> None:
    with event_source(client, topic.path) as events:
        topic.write_values([b"{}", b"no json", b'{"event_id":"1"}'])
        (number,) = topic.write(1)
        assert events.listen(1) == [number]
    eventually(lambda: metric(client, "millrace_gateway_passed_over_records") == 3)


def reluctant(port: int) -> socket.socket:
    """A connection that holds little of what is not read."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # before it connects, or the window is agreed on
    made.connect(("127.0.0.1", port))
    return made


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"start": "whenever"}, 400),
        ({"start": "0:99999"}, 400),
        ({"version": 0}, 400),
        ({"version": "x"}, 400),
        ({"min_score": 2, "max_score": 1}, 400),
        ({"min_score": "nan"}, 400),
        ({"colour": "red"}, 400),
    ],
)
def test_what_cannot_be_is_refused(
    client: httpx.Client, topic: PredictionTopic, stage: GatewayStage, params: dict[str, str], status: int
) -> None:
    answer = client.get(topic.path, params=params)
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error", "remedy", "code"}
    with pytest.raises(InvalidStatus) as caught:
        ws.connect(f"ws://127.0.0.1:{stage.rest_port}{topic.path}?{httpx.QueryParams(params)}")
    assert caught.value.response.status_code == status


def test_an_unknown_deployment_is_not_found(client: httpx.Client) -> None:
    assert client.get("/v1/deployments/nobody/predictions").status_code == 404


def test_many_subscribers_share_one_consumer(client: httpx.Client, topic: PredictionTopic) -> None:
    with contextlib.ExitStack() as stack:
        every = [stack.enter_context(event_source(client, topic.path)) for _ in range(20)]
        numbers = topic.write(30)
        for events in every:
            assert sorted(events.listen(30)) == numbers
        assert metric(client, "millrace_gateway_followed_records") == 30
        assert metric(client, "millrace_gateway_active_subscribers") == 20
    eventually(lambda: metric(client, "millrace_gateway_active_subscribers") == 0)


def test_frames_over_a_websocket(client: httpx.Client, topic: PredictionTopic, stage: GatewayStage) -> None:
    url = f"ws://127.0.0.1:{stage.rest_port}{topic.path}"
    with ws.connect(url) as socket_:
        assert orjson.loads(socket_.recv()) == {"id": "0:0,1:0"}
        numbers = topic.write(4)
        frames: list[dict[str, Any]] = []
        while len(frames) < 4:
            frame = orjson.loads(socket_.recv(timeout=10))
            frames += [frame] if "prediction" in frame else []
        assert sorted(int(frame["prediction"]["event_id"]) for frame in frames) == numbers
    with ws.connect(f"{url}?start={frames[1]['id']}") as socket_:
        socket_.recv()
        rest = [orjson.loads(socket_.recv(timeout=10)) for _ in range(2)]
        assert sorted(f["prediction"]["event_id"] for f in rest) == sorted(
            f["prediction"]["event_id"] for f in frames[2:]
        )


def test_events_over_grpc(client: httpx.Client, topic: PredictionTopic, stage: GatewayStage) -> None:
    past = topic.write(4, score=0.9)
    topic.write(4, score=0.1)
    with grpc.insecure_channel(stage.target) as channel:
        subscribe = channel.unary_stream(
            "/millrace.v1.Predictions/Subscribe",
            request_serializer=messages.SubscribeRequest.SerializeToString,
            response_deserializer=messages.PredictionEvent.FromString,
        )
        asked = messages.SubscribeRequest(deployment=topic.deployment, start="earliest", min_score=0.5)
        call = subscribe(asked, timeout=20)
        assert next(call).id == "0:0,1:0"
        got = list(itertools.islice((each for each in call if each.prediction), len(past)))
        assert sorted(int(orjson.loads(event.prediction)["event_id"]) for event in got) == past
        call.cancel()
        again = subscribe(messages.SubscribeRequest(deployment=topic.deployment, start=got[1].id), timeout=20)
        assert next(again).id == got[1].id
        again.cancel()
        for wrong, status in (
            ({"deployment": "nobody"}, grpc.StatusCode.NOT_FOUND),
            ({"deployment": topic.deployment, "start": "x"}, grpc.StatusCode.INVALID_ARGUMENT),
            ({"deployment": topic.deployment, "version": -1}, grpc.StatusCode.INVALID_ARGUMENT),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                next(subscribe(messages.SubscribeRequest(**wrong), timeout=20))
            assert caught.value.code() is status
    eventually(lambda: metric(client, "millrace_gateway_active_subscribers") == 0)


def test_whoever_talks_on_a_websocket_is_shown_out(topic: PredictionTopic, stage: GatewayStage) -> None:
    with stage.running(), ws.connect(f"ws://127.0.0.1:{stage.rest_port}{topic.path}") as socket_:
        socket_.recv()
        socket_.send("hello?")
        with pytest.raises(ConnectionClosedError) as caught:
            socket_.recv(timeout=10)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1003


def test_pages_of_other_sites_need_leave(topic: PredictionTopic, stage: GatewayStage) -> None:
    url = f"ws://127.0.0.1:{stage.rest_port}{topic.path}"
    with stage.running(options=stage.options(subscriptions={"origins": ["https://known.example"]})) as client:
        with pytest.raises(InvalidStatus):
            ws.connect(url, origin=Origin("https://evil.example"))
        with ws.connect(url, origin=Origin("https://known.example")):
            pass
        with ws.connect(url, origin=Origin(f"http://127.0.0.1:{stage.rest_port}")):
            pass
        with client.stream("GET", topic.path, headers={"Origin": "https://known.example"}) as answer:
            assert answer.headers["access-control-allow-origin"] == "https://known.example"
        with client.stream("GET", topic.path, headers={"Origin": "https://evil.example"}) as answer:
            assert "access-control-allow-origin" not in answer.headers


def test_a_slow_reader_is_paused_then_dropped_and_comes_back_without_loss(
    topic: PredictionTopic, stage: GatewayStage
) -> None:
    options = stage.options(subscriptions={"held_records": 1_000, "heartbeat_secs": 0.3, "stall_secs": 60})
    with stage.running(options=options) as client:
        with reluctant(stage.rest_port) as slow, event_source(client, topic.path) as fast:
            slow.sendall(f"GET {topic.path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            eventually(lambda: metric(client, "millrace_gateway_active_subscribers") == 2)
            numbers: list[int] = []
            for _ in range(6):  # 24 megabytes: far more than sockets hold
                numbers += topic.write(1_000, padding=4_000)
                assert sorted(fast.listen(len(numbers))) == numbers
            heard = b""
            slow.settimeout(30)
            while b"event: end" not in heard[-1_000:]:
                some = slow.recv(2**20)
                assert some, heard[-500:]
                heard += some
        eventually(lambda: metric(client, 'millrace_gateway_dropped_subscribers_total{reason="overtaken"}') == 1)
        ids = [line[4:].decode().strip() for line in heard.splitlines() if line.startswith(b"id: ")]
        got = [orjson.loads(line[6:]) for line in heard.splitlines() if line.startswith(b'data: {"event_id')]
        before = [int(document["event_id"]) for document in got]
        with event_source(client, topic.path, last_id=ids[-1]) as again:
            after = again.listen(len(numbers) - len(before))
        assert sorted(before + list(after)) == numbers


def test_a_reader_that_takes_nothing_is_dropped(topic: PredictionTopic, stage: GatewayStage) -> None:
    options = stage.options(subscriptions={"stall_secs": 0.5})
    with (
        stage.running(options=options) as client,
        reluctant(stage.rest_port) as stalled,
    ):
        stalled.sendall(f"GET {topic.path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        eventually(lambda: metric(client, "millrace_gateway_active_subscribers") == 1)
        topic.write(20_000)
        eventually(lambda: metric(client, 'millrace_gateway_dropped_subscribers_total{reason="stalled"}') == 1)
        assert metric(client, "millrace_gateway_active_subscribers") == 0


def test_there_is_room_for_so_many(topic: PredictionTopic, stage: GatewayStage) -> None:
    with stage.running(options=stage.options(subscriptions={"max_subscribers": 1})) as client:
        with event_source(client, topic.path):
            answer = client.get(topic.path)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        eventually(lambda: metric(client, "millrace_gateway_active_subscribers") == 0)
        with event_source(client, topic.path):
            pass


def test_a_broker_that_comes_back_is_silence_and_no_loss(own_broker: LocalBroker, settings: Settings) -> None:
    topic, stage = PredictionTopic(own_broker), GatewayStage(own_broker, settings)
    options = stage.options(subscriptions={"heartbeat_secs": 0.3})
    with stage.running(options=options) as client, event_source(client, topic.path) as events:
        before = topic.write(4)
        assert sorted(events.listen(4)) == before
        own_broker.stop()
        assert events.hear(), "a heartbeat"
        own_broker.start()
        after = topic.write(4)
        assert sorted(events.listen(8)) == before + after


def test_topics_have_room_too(broker: Broker, stage: GatewayStage) -> None:
    one, other = PredictionTopic(broker), PredictionTopic(broker)
    with stage.running(options=stage.options(subscriptions={"max_topics": 1})) as client:
        with event_source(client, one.path):
            assert client.get(other.path).status_code == 503
        eventually(lambda: metric(client, "millrace_gateway_active_subscribers") == 0)
        with event_source(client, other.path) as events:  # nobody reads the first one any more
            assert sorted(other.write(2)) == sorted(events.listen(2))


def test_a_gateway_that_stops_ends_its_streams_at_once(topic: PredictionTopic, stage: GatewayStage) -> None:
    with httpx.Client(base_url=stage.url, timeout=10) as outside:
        with stage.running():
            stream = event_source(outside, topic.path)
            events = stream.__enter__()
        while events.hear():
            pass
        assert events.events[-1][0] == "end"
        stream.__exit__(None, None, None)
