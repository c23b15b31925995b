"""Keys, roles, and how often somebody may try."""

from dataclasses import replace
from datetime import timedelta

import pytest

from millrace.core.control.allowance import Allowance
from millrace.core.control.keys import ApiKey, KeyState, Role, digest_of, judge, key_name, key_text, shown_key
from millrace.core.errors import RequestError

TEXT = key_text("ops", "x" * 43)
KEY = ApiKey("ops", Role.OPERATOR, digest_of(TEXT), created_ms=1_000, created_by="kay", expires_ms=5_000)
MINUTE = timedelta(minutes=1)


def test_each_role_may_what_those_before_it_may() -> None:
    assert [[role.includes(other) for other in Role] for role in Role] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]


@pytest.mark.parametrize(
    ("shown", "key", "now_ms", "state"),
    [
        (TEXT, KEY, 4_999, KeyState.VALID),
        (TEXT, KEY, 5_000, KeyState.EXPIRED),
        (TEXT, replace(KEY, revoked_ms=2_000), 2_000, KeyState.REVOKED),
        (TEXT, replace(KEY, expires_ms=None), 10**15, KeyState.VALID),
        (TEXT, None, 0, KeyState.UNKNOWN),
        (TEXT + "y", KEY, 0, KeyState.UNKNOWN),
        ("", None, 0, KeyState.UNKNOWN),
    ],
)
def test_what_is_shown_is_worth(shown: str, key: ApiKey | None, now_ms: int, state: KeyState) -> None:
    assert judge(shown, key, now_ms) is state


@pytest.mark.parametrize("name", ["", "Ops", "a_b", "-a", "a-", "a/b", "a" * 61, "\u00e4"])
def test_a_name_that_cannot_be_read_back_is_refused(name: str) -> None:
    with pytest.raises(RequestError, match="is no name of a key"):
        replace(KEY, name=name)


@pytest.mark.parametrize("name", ["a", "ops", "ci-2", "9", "a" * 60])
def test_a_text_says_which_key_it_is(name: str) -> None:
    assert key_name(key_text(name, "_-" + "x" * 41)) == name
    assert key_name(key_text(name, "short")) is None


def test_a_rotated_key_has_another_text_and_as_long_a_life() -> None:
    rotated = KEY.rotated("other", now_ms=9_000, by="lee")
    assert (rotated.digest, rotated.created_by, rotated.expires_ms) == ("other", "lee", 13_000)
    assert (rotated.name, rotated.role) == (KEY.name, KEY.role)
    assert replace(KEY, expires_ms=None).rotated("other", now_ms=9_000, by="lee").expires_ms is None


@pytest.mark.parametrize(
    ("authorization", "api_key", "shown"),
    [("Bearer a", "", "a"), ("bearer a", "b", "a"), ("Basic a", "b", "b"), ("", "b", "b"), ("a", "", ""), ("", "", "")],
)
def test_a_key_is_shown_in_one_of_two_headers(authorization: str, api_key: str, shown: str) -> None:
    assert shown_key(authorization, api_key) == shown


def test_an_allowance_slides() -> None:
    allowance = Allowance(2, MINUTE)
    assert [allowance.take("a", now) for now in (0, 30)] == [timedelta(0)] * 2
    assert allowance.take("a", 45) == timedelta(seconds=15)
    assert allowance.take("b", 45) == timedelta(0), "others have their own"
    assert allowance.take("a", 60) == timedelta(0)
    assert allowance.take("a", 61) == timedelta(seconds=29)


def test_an_allowance_remembers_so_many_callers() -> None:
    allowance = Allowance(1, MINUTE, most_callers=2)
    assert [allowance.take(caller, 0) for caller in "aab"] == [timedelta(0), MINUTE, timedelta(0)]
    assert allowance.take("c", 1) == timedelta(0)
    assert allowance.take("b", 1) == timedelta(seconds=59)
    assert allowance.take("a", 1) == timedelta(0), "who was quiet for longest is forgotten"
