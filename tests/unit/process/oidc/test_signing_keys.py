"""When the provider is asked for its keys, and how long they hold."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import pytest
from joserfc.jwk import Key

from millrace.core.errors import MillraceError, RequestError, TransientError
from millrace.process.clock import SystemClock
from millrace.process.oidc.signing_keys import Pace, SigningKeys
from millrace.testing.clock import ManualClock
from millrace.testing.identity_provider import signing_key
from millrace.testing.waiting import eventually

PACE: Final = Pace(refresh=timedelta(seconds=300), retry=timedelta(seconds=10), hold=timedelta(seconds=3600))
FIRST, SECOND = signing_key("first", "ES256"), signing_key("second", "ES256")


class Provider:
    """Shows keys, or fails."""

    def __init__(self, *keys: Key) -> None:
        self.shown = list(keys)
        self.failure: MillraceError | None = None
        self.asked = 0

    def __call__(self) -> Mapping[str, Key]:
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        return {str(key.kid): key for key in self.shown}


class Followed:
    """Keys that are followed by hand."""

    def __init__(self, *shown: Key) -> None:
        self.provider, self.clock = Provider(*shown), ManualClock()
        self.keys = SigningKeys(self.provider, PACE, self.clock)
        self.keys.turn()

    def after(self, seconds: float) -> timedelta:
        """Go on, and do what is to be done then."""
        self.clock.advance(timedelta(seconds=seconds))
        return self.keys.turn()


def test_a_key_that_was_taken_back_is_unknown_after_the_refresh() -> None:
    followed = Followed(FIRST, SECOND)
    followed.provider.shown.remove(FIRST)
    assert followed.after(299) == timedelta(seconds=1)
    assert followed.keys.find("first") is FIRST
    assert followed.after(1) == PACE.refresh
    assert followed.keys.find("first") is None
    assert followed.keys.find("second") is SECOND


def test_a_new_key_is_asked_for_when_it_is_named() -> None:
    followed = Followed(FIRST)
    followed.provider.shown.append(SECOND)
    assert followed.keys.find("second") is None
    assert followed.after(9) == timedelta(seconds=1), "not so soon"
    followed.after(1)
    assert followed.keys.find("second") is SECOND
    assert followed.provider.asked == 2


def test_a_flood_of_unknown_keys_is_one_question_and_nothing_in_memory() -> None:
    followed = Followed(FIRST)
    for second in range(100):
        for number in range(100):
            assert followed.keys.find(f"{second}-{number}") is None
        followed.after(1)
    assert followed.provider.asked == 1 + 10, "one every ten seconds"
    assert followed.keys._keys.keys() == {"first"}


def test_while_the_provider_is_away_its_last_keys_hold_for_a_while() -> None:
    followed = Followed(FIRST)
    followed.provider.failure = TransientError("away")
    assert followed.after(300) == PACE.retry
    assert followed.after(10) == PACE.retry
    assert followed.keys.find("first") is FIRST
    followed.after(3290)
    assert followed.keys.find("first") is FIRST
    followed.after(1)
    with pytest.raises(TransientError, match="does not answer"):
        followed.keys.find("first")
    followed.provider.failure = None
    followed.after(10)
    assert followed.keys.find("first") is FIRST


def test_the_age_of_the_keys_is_told_from_the_last_answer_and_without_one_from_the_beginning() -> None:
    followed = Followed(FIRST)
    followed.after(299)
    assert followed.keys.age_secs() == 299
    followed.after(1)
    assert followed.keys.age_secs() == 0
    followed.provider.failure = TransientError("away")
    followed.after(400)
    assert followed.keys.age_secs() == 400
    clock = ManualClock()
    never = SigningKeys(followed.provider, PACE, clock)
    clock.advance(timedelta(seconds=20))
    assert never.age_secs() == 20


def test_what_the_provider_says_wrongly_changes_nothing() -> None:
    followed = Followed(FIRST)
    followed.provider.failure = RequestError("no keys")
    followed.after(300)
    assert followed.keys.find("first") is FIRST


def test_a_provider_that_is_away_at_the_start_may_come_later_and_a_wrong_one_may_not() -> None:
    provider, clock = Provider(FIRST), ManualClock()
    provider.failure = RequestError("another issuer")
    with pytest.raises(RequestError, match="another issuer"), SigningKeys(provider, PACE, clock):
        pass
    provider.failure = TransientError("away")
    with SigningKeys(provider, PACE, clock) as keys, pytest.raises(TransientError):
        keys.find("first")


def test_the_thread_asks_when_somebody_names_what_nobody_knows() -> None:
    provider = Provider(FIRST)
    quick = Pace(refresh=timedelta(hours=1), retry=timedelta(milliseconds=10), hold=timedelta(hours=1))
    with SigningKeys(provider, quick, SystemClock()) as keys:
        provider.shown.append(SECOND)
        eventually(lambda: keys.find("second") is SECOND, within=timedelta(seconds=60), what="the new key")
