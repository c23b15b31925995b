"""The local online store: one per folder, found by whoever names the folder."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from millrace.cli.app import run
from millrace.core.errors import FatalError, RequestError
from millrace.process.settings import RedisSettings, Settings
from millrace.store.finding import find_redis, open_online_store
from millrace.store.local_redis import LocalRedis

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path))
    monkeypatch.delenv("MILLRACE_REDIS__URL", raising=False)
    yield tmp_path
    LocalRedis(tmp_path).kill()


def test_started_twice_it_is_one_and_it_keeps_its_port_and_its_data(home: Path) -> None:
    first = LocalRedis(home).start()
    assert LocalRedis(home).start() == first
    with Redis.from_url(LocalRedis(home).settings.url) as client:
        client.set("a", "1")
    LocalRedis(home).stop()
    stopped = LocalRedis(home).status()
    assert (stopped.running, stopped.url, stopped.pid) == (False, first.url, None)
    again = LocalRedis(home).start()
    assert (again.url, again.pid == first.pid) == (first.url, False)
    with Redis.from_url(LocalRedis(home).settings.url) as client:
        assert client.get("a") == b"1"


def test_one_that_dies_says_its_last_words(home: Path) -> None:
    with pytest.raises(FatalError, match=r"the online store died: .*maxmemory"):
        LocalRedis(home, {"maxmemory": "plenty"}).start()


def test_it_is_found_where_the_environment_names_none(home: Path) -> None:
    with pytest.raises(RequestError, match=r"rain needs it, but none is named .*millrace up --redis"):
        find_redis(Settings(home=home), wanted="rain needs it")
    started = LocalRedis(home).start()
    assert find_redis(Settings(home=home), wanted="rain needs it").url == started.url
    named = RedisSettings(url="redis://store:6379")
    assert find_redis(Settings(home=home, redis=named), wanted="rain needs it") == named
    with open_online_store(Settings(home=home), wanted="rain needs it") as store:
        assert store.fetch([]) == []


def test_the_commands_show_it_and_stop_it(home: Path, capsys: Capture) -> None:
    started = LocalRedis(home).start()
    assert run(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["redis"] == started.url
    assert run(["status"]) == 0
    assert str(started.url) in capsys.readouterr().out
    assert run(["down"]) == 0
    assert f"online store stopped (process {started.pid})" in capsys.readouterr().out
    assert not LocalRedis(home).status().running
