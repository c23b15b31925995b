"""What the doctor says of a real online store."""

from pathlib import Path

from millrace.client.diagnosis import State
from millrace.client.doctor import examine_online_store
from millrace.process.settings import Settings
from millrace.store.local_redis import LocalRedis


def test_the_doctor_finds_the_online_store_and_says_what_it_is(redis: LocalRedis, tmp_path: Path) -> None:
    here = examine_online_store(Settings(home=redis.home))
    assert here.state is State.OK
    assert here.found.startswith("valkey at 127.0.0.1:")
    assert examine_online_store(Settings(home=tmp_path)).found.startswith("none;")


def test_the_doctor_says_what_is_wrong_with_one_that_is_away(own_redis: LocalRedis) -> None:
    settings = Settings(redis=own_redis.settings)
    own_redis.kill()
    away = examine_online_store(settings)
    assert (away.state, "cannot be reached" in away.found) == (State.ERROR, True)
    assert "MILLRACE_REDIS__URL" in away.remedy
