"""A topic's table on a real Valkey: written by one client, read by another."""

import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import numpy as np
import pytest
from redis import Redis

from millrace.core.errors import FatalError, RequestError, TransientError
from millrace.process.clock import SystemClock
from millrace.process.settings import RedisSettings
from millrace.store.local_redis import LocalRedis
from millrace.store.lookup import Found, Fullness, Lookup
from millrace.store.online import OnlineStore
from millrace.store.online_table import OnlineTable, Upsert
from millrace.testing.records import record_batch
from millrace.testing.redis import temporary_redis

ID = "J6Q1gcbBRxqEGiYAJNcRsA"


def table(redis: LocalRedis, topic: str, *, ttl: timedelta | None = None) -> OnlineTable:
    return OnlineTable(redis.settings, topic, topic_id=ID, ttl=ttl)


def upsert(
    topic: str, start: int, values: Sequence[bytes | None], *, keys: Sequence[bytes] | None = None, partition: int = 0
) -> Upsert:
    names = [b"k%d" % row for row in range(len(values))] if keys is None else keys
    records = record_batch(values, topic=topic, partition=partition, first_offset=start, keys=list(names))
    return Upsert(partition, start, start + len(values), records)


def look_up(redis: LocalRedis, topic: str, *keys: bytes) -> Found:
    with OnlineStore(redis.settings) as store:
        return store.fetch([Lookup(topic, keys)])[0]


def values(found: Found) -> list[bytes | None]:
    return [None if row < 0 else found.records.values[row] for row in found.rows]


@pytest.fixture
def topic() -> str:
    return f"stations-{uuid4().hex[:8]}.features"


def test_what_is_written_is_found_with_its_coordinates_and_time(redis: LocalRedis, topic: str) -> None:
    stations = table(redis, topic)
    assert stations.open({0: (0, 2)}, partitions=1) == {0: 0}
    assert stations.apply([upsert(topic, 0, [b'{"a":1}', b"line\nfeed \x00"], keys=[b"oslo", b"\xff bin"])]) == {0: 2}
    found = look_up(redis, topic, b"\xff bin", b"oslo", b"nowhere", b"oslo")
    assert values(found) == [b"line\nfeed \x00", b'{"a":1}', None, b'{"a":1}']
    assert found.fullness is Fullness.FILLED
    oslo = int(found.rows[1])
    assert str(found.records.coordinates(oslo)) == f"{topic}-0-0"
    assert found.records.timestamps_ms[oslo] == 1


def test_a_tombstone_deletes(redis: LocalRedis, topic: str) -> None:
    stations = table(redis, topic)
    stations.open({0: (0, 0)}, partitions=1)
    stations.apply([upsert(topic, 0, [b"1", b"2"])])
    assert stations.apply([upsert(topic, 2, [None], keys=[b"k0"])]) == {0: 3}
    assert values(look_up(redis, topic, b"k0", b"k1")) == [None, b"2"]


def test_a_batch_that_comes_twice_changes_nothing(redis: LocalRedis, topic: str) -> None:
    stations = table(redis, topic)
    stations.open({0: (0, 0)}, partitions=1)
    first, second = upsert(topic, 0, [b"old"]), upsert(topic, 1, [b"new"])
    assert stations.apply([first, second]) == {0: 2}
    assert stations.apply([first]) == {0: 2}
    assert values(look_up(redis, topic, b"k0")) == [b"new"]


def test_the_slower_of_two_writers_changes_nothing(redis: LocalRedis, topic: str) -> None:
    slow, quick = table(redis, topic), table(redis, topic)
    assert slow.open({0: (0, 9)}, partitions=1) == quick.open({0: (0, 9)}, partitions=1) == {0: 0}
    quick.apply([upsert(topic, 0, [b"0", b"1", b"2"], keys=[b"k"] * 3)])
    assert slow.apply([upsert(topic, 0, [b"0", b"1"], keys=[b"k"] * 2)]) == {0: 3}
    assert values(look_up(redis, topic, b"k")) == [b"2"]


def test_one_partition_that_is_elsewhere_does_not_hold_up_the_others(redis: LocalRedis, topic: str) -> None:
    stations = table(redis, topic)
    stations.open({0: (0, 0), 1: (0, 0)}, partitions=2)
    ahead = replace(upsert(topic, 5, [b"no"], partition=1), expected=4)
    assert stations.apply([upsert(topic, 0, [b"yes"]), ahead]) == {0: 1, 1: 0}


def test_a_table_is_full_once_every_partition_is_at_its_end(redis: LocalRedis, topic: str) -> None:
    assert look_up(redis, topic, b"k0").fullness is Fullness.ABSENT
    stations = table(redis, topic)
    stations.open({0: (0, 2), 1: (7, 7)}, partitions=3)
    assert look_up(redis, topic, b"k0").fullness is Fullness.FILLING
    stations.apply([upsert(topic, 0, [b"1"])])
    stations.open({2: (0, 1)}, partitions=3)
    stations.apply([upsert(topic, 0, [b"1"], partition=2), upsert(topic, 1, [b"2"])])
    assert look_up(redis, topic, b"k0").fullness is Fullness.FILLED
    stations.apply([upsert(topic, 2, [b"3"])])
    assert stations.open({0: (0, 99), 1: (7, 99)}, partitions=3) == {0: 3, 1: 7}
    assert look_up(redis, topic, b"k0").fullness is Fullness.FILLED


def test_partitions_that_are_added_are_to_be_filled(redis: LocalRedis, topic: str) -> None:
    stations = table(redis, topic)
    stations.open({0: (0, 0)}, partitions=1)
    assert look_up(redis, topic, b"k0").fullness is Fullness.FILLED
    stations.open({0: (0, 0)}, partitions=2)
    assert look_up(redis, topic, b"k0").fullness is Fullness.FILLING
    stations.open({1: (0, 0)}, partitions=2)
    assert look_up(redis, topic, b"k0").fullness is Fullness.FILLED


def test_an_absent_or_unfilled_table_is_said_with_its_remedy(redis: LocalRedis, topic: str) -> None:
    with pytest.raises(TransientError, match=f"has no table {topic}.*run millrace-materializer --topic {topic}"):
        look_up(redis, topic, b"k").require_filled()
    table(redis, topic).open({0: (0, 2)}, partitions=1)
    with pytest.raises(TransientError, match=f"the table {topic} .* is still being filled"):
        look_up(redis, topic, b"k").require_filled()


def test_another_topic_of_the_same_name_is_refused(redis: LocalRedis, topic: str) -> None:
    table(redis, topic).open({0: (0, 1)}, partitions=1)
    anew = OnlineTable(redis.settings, topic, topic_id="another")
    with pytest.raises(RequestError, match=r"earlier topic of this name.*--forget"):
        anew.open({0: (0, 1)}, partitions=1)


def test_a_forgotten_table_is_gone_and_no_other_is(redis: LocalRedis, topic: str) -> None:
    other = f"{topic}.other"
    for name in (topic, other):
        stations = table(redis, name)
        stations.open({0: (0, 0)}, partitions=1)
        stations.apply([upsert(name, 0, [b"1"] * 2500)])
    assert table(redis, topic).forget() == 2500
    assert look_up(redis, topic, b"k0").fullness is Fullness.ABSENT
    assert values(look_up(redis, topic, b"k0")) == [None]
    assert values(look_up(redis, other, b"k2499")) == [b"1"]


def test_more_values_than_a_script_can_pass_at_once(redis: LocalRedis, topic: str) -> None:
    stations = table(redis, topic)
    stations.open({0: (0, 0)}, partitions=1)
    count = 9_001
    stations.apply([upsert(topic, 0, [b"%d" % row for row in range(count)])])
    keys = [b"k%d" % row for row in range(count)]
    assert values(look_up(redis, topic, *keys)) == [b"%d" % row for row in range(count)]
    assert stations.apply([upsert(topic, count, [None] * count)]) == {0: 2 * count}
    assert values(look_up(redis, topic, *keys)) == [None] * count


def test_values_expire_by_the_time_of_their_records(redis: LocalRedis, topic: str) -> None:
    stations = table(redis, topic, ttl=timedelta(hours=1))
    stations.open({0: (0, 0)}, partitions=1)
    batch = upsert(topic, 0, [b"old", b"young", b"new"], keys=[b"old", b"young", b"new"])
    now = SystemClock().wall_ms()
    times = np.array([now - 3_600_001, now - 1_000, now], np.int64)
    stations.apply([replace(batch, records=replace(batch.records, timestamps_ms=times))])
    assert values(look_up(redis, topic, b"old", b"young", b"new")) == [None, b"young", b"new"]


def test_several_tables_are_one_round_trip_and_no_keys_are_none(redis: LocalRedis, topic: str) -> None:
    other = f"{topic}.other"
    for name, value in ((topic, b"1"), (other, b"2")):
        stations = table(redis, name)
        stations.open({0: (0, 0)}, partitions=1)
        stations.apply([upsert(name, 0, [value])])
    with OnlineStore(redis.settings) as store:
        found = store.fetch([Lookup(topic, [b"k0"]), Lookup(other, []), Lookup(other, [b"k0", b"none"])])
        assert store.fetch([]) == []
    assert [values(each) for each in found] == [[b"1"], [], [b"2", None]]
    assert found[1].fullness is Fullness.FILLED


def test_a_full_server_takes_nothing_of_a_batch_and_says_so() -> None:
    def fill(stations: OnlineTable) -> None:
        for start in range(0, 4_000, 200):
            keys = [b"%d" % offset for offset in range(start, start + 200)]
            assert stations.apply([upsert("t.features", start, [b"x" * 1_000] * 200, keys=keys)]) == {0: start + 200}

    with temporary_redis({"maxmemory": "3mb"}) as small:
        stations = table(small, "t.features")
        stations.open({0: (0, 0)}, partitions=1)
        with pytest.raises(TransientError, match=r"writing the table t.features: .* is full \(raise its maxmemory"):
            fill(stations)
        place = stations.open({0: (0, 0)}, partitions=1)[0]
        assert place > 0
        refused = [b"%d" % offset for offset in range(place, place + 200)]
        assert values(look_up(small, "t.features", b"%d" % (place - 1), *refused)) == [b"x" * 1_000] + [None] * 200


@pytest.mark.parametrize(
    ("policy", "ttl"),
    [("allkeys-lru", None), ("allkeys-random", timedelta(hours=1)), ("volatile-lru", timedelta(hours=1))],
)
def test_a_server_that_throws_values_away_is_refused(policy: str, ttl: timedelta | None) -> None:
    with temporary_redis({"maxmemory-policy": policy}) as evicting:
        stations = table(evicting, "t.features", ttl=ttl)
        with pytest.raises(RequestError, match=rf"throws values away.*{policy}.*noeviction"):
            stations.open({0: (0, 0)}, partitions=1)


def test_a_server_that_throws_away_only_what_expires_will_do_for_what_does_not() -> None:
    with temporary_redis({"maxmemory-policy": "volatile-lru"}) as evicting:
        assert table(evicting, "t.features").open({0: (0, 0)}, partitions=1) == {0: 0}


def test_a_killed_server_is_away_and_comes_back_empty(own_redis: LocalRedis) -> None:
    stations = table(own_redis, "t.features")
    stations.open({0: (0, 0)}, partitions=1)
    stations.apply([upsert("t.features", 0, [b"1"])])
    own_redis.kill()
    with pytest.raises(TransientError, match=r"writing the table t.features: the online store at .* cannot be reached"):
        stations.apply([upsert("t.features", 1, [b"2"])])
    with pytest.raises(TransientError, match=r"looking up t.features: .*MILLRACE_REDIS__URL"):
        look_up(own_redis, "t.features", b"k0")
    own_redis.start()
    assert stations.apply([upsert("t.features", 1, [b"2"])]) == {0: None}
    assert look_up(own_redis, "t.features", b"k0").fullness is Fullness.ABSENT


def test_a_server_that_hangs_is_not_waited_for_longer_than_allowed(own_redis: LocalRedis, topic: str) -> None:
    impatient = own_redis.settings.model_copy(update={"timeout_ms": 200})
    pid = own_redis.status().pid
    assert pid is not None
    with OnlineStore(impatient) as store:
        assert store.fetch([Lookup(topic, [b"k"])])[0].fullness is Fullness.ABSENT
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(TransientError, match=r"does not answer in time .*MILLRACE_REDIS__TIMEOUT_MS"):
            store.fetch([Lookup(topic, [b"k"])])
        os.kill(pid, signal.SIGCONT)
        assert store.fetch([Lookup(topic, [b"k"])])[0].fullness is Fullness.ABSENT


def test_a_server_that_comes_back_with_older_data_says_how_old() -> None:
    with temporary_redis({"save": "3600 1000000"}) as saving:
        stations = table(saving, "t.features")
        stations.open({0: (0, 0)}, partitions=1)
        stations.apply([upsert("t.features", 0, [b"1"])])
        saving.stop()  # saves
        saving.start()
        assert stations.apply([upsert("t.features", 1, [b"2"])]) == {0: 2}
        saving.kill()
        saving.start()
        assert stations.apply([upsert("t.features", 2, [b"3"])]) == {0: 1}
        assert values(look_up(saving, "t.features", b"k0")) == [b"1"]


def test_a_wrong_password_is_fatal_and_never_shown() -> None:
    with temporary_redis({"requirepass": "open-sesame"}) as guarded:
        wrong = RedisSettings.model_validate({"url": guarded.settings.url, "password": "hush"})
        with pytest.raises(FatalError, match=r"refuses this client.*MILLRACE_REDIS__PASSWORD") as caught:
            OnlineStore(wrong).fetch([Lookup("t.features", [b"k"])])
        assert "hush" not in str(caught.value)
        right = RedisSettings.model_validate({"url": guarded.settings.url, "password": "open-sesame"})
        with OnlineStore(right) as store:
            assert store.fetch([Lookup("t.features", [b"k"])])[0].fullness is Fullness.ABSENT


def test_what_nobody_of_us_wrote_is_said(redis: LocalRedis, topic: str) -> None:
    port = int(redis.settings.url.rpartition(":")[2].partition("/")[0])
    with Redis(port=port) as other:
        other.set(f"millrace:{{{topic}}}:k", "hello")
    with pytest.raises(FatalError, match=r"no materializer wrote.*NAMESPACE"):
        look_up(redis, topic, b"k")
