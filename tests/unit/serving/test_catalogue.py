from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from millrace.core.errors import RequestError
from millrace.serving.catalogue import (
    AliasEntry,
    Candidate,
    Entry,
    EvaluationEntry,
    LatencyEntry,
    Reference,
    VersionEntry,
    add_version,
    aliases,
    curves,
    evaluations,
    move_alias,
    names_version,
    resolve,
    swap_aliases,
    versions,
)
from millrace.serving.manifest import BaselineMetric
from millrace.testing.models import linear_bundle

NOW = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.fixture
def candidate(tmp_path: Path) -> Candidate:
    bundle = linear_bundle(tmp_path / "bundle", name="loans")
    return Candidate(bundle.manifest, bundle.digest, 1234)


def table(*entries: Entry) -> dict[str, dict[str, Any]]:
    """As the topic gives it back: JSON."""
    return {entry.key: entry.model_dump(mode="json", exclude_none=True) for entry in entries}


def pushed(candidate: Candidate, times: int) -> dict[str, dict[str, Any]]:
    read: dict[str, dict[str, Any]] = {}
    for number in range(times):
        digest = f"sha256:{number:064}"
        _, written = add_version(read, Candidate(candidate.manifest, digest, 1), NOW)
        read |= table(*written)
    return read


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("loans", Reference("loans", alias="champion")),
        ("loans@challenger", Reference("loans", alias="challenger")),
        ("loans/12", Reference("loans", version=12)),
        ("a.b_c-d/1", Reference("a.b_c-d", version=1)),
    ],
)
def test_references(text: str, expected: Reference) -> None:
    assert Reference.parse(text) == expected
    assert Reference.parse(str(expected)) == expected


@pytest.mark.parametrize(
    "text", ["", "Loans", "loans/0", "loans/x", "loans@", "loans@1", "a b", "loans/1#latency/cpu", "@x"]
)
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(RequestError, match="is no reference to a model"):
        Reference.parse(text)


def test_the_first_version_becomes_the_champion(candidate: Candidate) -> None:
    entry, written = add_version({}, candidate, NOW)
    assert (entry.version, entry.name, entry.bytes, entry.features) == (1, "loans", 1234, 3)
    assert written == (entry, AliasEntry(name="loans", alias="champion", version=1))
    assert resolve(table(*written), "loans") == entry


def test_later_versions_count_up_and_leave_the_aliases(candidate: Candidate) -> None:
    read = pushed(candidate, 11)
    assert [entry.version for entry in versions(read)] == list(range(1, 12))
    assert aliases(read, "loans") == {"champion": 1}
    assert resolve(read, "loans").version == 1
    assert resolve(read, "loans/11").version == 11


def test_the_same_bundle_keeps_its_number(candidate: Candidate) -> None:
    first, written = add_version({}, candidate, NOW)
    assert add_version(table(*written), candidate, NOW) == (first, ())


def test_an_alias_moves_by_any_reference(candidate: Candidate) -> None:
    read = pushed(candidate, 3)
    read |= table(move_alias(read, "challenger", Reference.parse("loans/3")))
    read |= table(move_alias(read, "champion", Reference.parse("loans@challenger")))
    assert aliases(read, "loans") == {"challenger": 3, "champion": 3}


def test_models_with_similar_names_are_apart(candidate: Candidate) -> None:
    manifest = candidate.manifest.model_copy(update={"name": "loans-eu"})
    read = pushed(candidate, 2) | pushed(Candidate(manifest, "sha256:" + "f" * 64, 1), 1)
    assert [entry.key for entry in versions(read, "loans")] == ["loans/1", "loans/2"]
    assert [entry.key for entry in versions(read)] == ["loans/1", "loans/2", "loans-eu/1"]


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("nothing", r"no model 'nothing' \(models that exist: loans\)"),
        ("loans@prod", r"has no loans@prod \(aliases that exist: champion\)"),
        ("loans/9", r"has no loans/9 \(versions that exist: 1, 2\)"),
    ],
)
def test_what_does_not_exist_is_answered_with_what_does(candidate: Candidate, reference: str, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        resolve(pushed(candidate, 2), reference)


def test_an_empty_registry_says_how_to_fill_it() -> None:
    with pytest.raises(RequestError, match="millrace model push"):
        resolve({}, "loans")


def test_an_alias_must_be_writable_in_a_reference(candidate: Candidate) -> None:
    with pytest.raises(RequestError, match="is no reference"):
        move_alias(pushed(candidate, 1), "Prod 1", Reference.parse("loans/1"))


def test_curves_belong_to_one_version(candidate: Candidate) -> None:
    read = pushed(candidate, 11)
    for version, device in ((1, "cpu"), (1, "cuda"), (11, "cpu")):
        read |= table(LatencyEntry(name="loans", version=version, device=device, curve={"of": version}))
    assert curves(read, resolve(read, "loans/1")) == {"cpu": {"of": 1}, "cuda": {"of": 1}}
    assert [entry.version for entry in versions(read, "loans")] == list(range(1, 12))


def evaluation(version: int, digit: str, *, hour: int) -> EvaluationEntry:
    return EvaluationEntry(
        name="loans",
        version=version,
        experiment="loans",
        dataset="held-out",
        digest=f"sha256:{digit * 64}",
        rows=10,
        metrics=(BaselineMetric(name="accuracy", value=0.9, lower=0.6, upper=0.98, rows=10),),
        who="kay@desk",
        evaluated_at=NOW.replace(hour=hour),
    )


def test_evaluations_belong_to_one_version_and_the_same_rows_count_once(candidate: Candidate) -> None:
    first, other, again, next_door = (
        evaluation(1, "a", hour=1),
        evaluation(1, "b", hour=2),
        evaluation(1, "a", hour=3),
        evaluation(11, "a", hour=1),
    )
    read = pushed(candidate, 11) | table(first) | table(other) | table(again) | table(next_door)
    assert evaluations(read, resolve(read, "loans/1")) == (other, again)
    assert evaluations(read, resolve(read, "loans/2")) == ()
    assert [entry.version for entry in versions(read, "loans")] == list(range(1, 12))


def test_a_broken_record_is_named_by_its_key(candidate: Candidate) -> None:
    read = pushed(candidate, 1)
    del read["loans/1"]["digest"]
    with pytest.raises(RequestError, match=r"millrace\.models, key loans/1: digest: is missing"):
        resolve(read, "loans/1")


def test_entries_survive_json(candidate: Candidate) -> None:
    entry, _ = add_version({}, candidate, NOW)
    assert VersionEntry.model_validate_json(entry.model_dump_json()) == entry


class TestSwapAliases:
    def test_a_promotion_moves_one_name_and_takes_the_other_away(self, candidate: Candidate) -> None:
        read = pushed(candidate, 2) | table(AliasEntry(name="loans", alias="challenger", version=2))
        expected, wanted = {"champion": 1, "challenger": 2}, {"champion": 2, "challenger": None}
        assert swap_aliases(read, "loans", expected=expected, wanted=wanted) == {
            "loans@champion": AliasEntry(name="loans", alias="champion", version=2),
            "loans@challenger": None,
        }

    def test_what_is_so_already_is_not_written_again(self, candidate: Candidate) -> None:
        read = pushed(candidate, 2)
        done = swap_aliases(read, "loans", expected={"champion": 2}, wanted={"champion": 1, "challenger": None})
        assert done == {}

    def test_somebody_elses_decision_stands(self, candidate: Candidate) -> None:
        read = pushed(candidate, 3) | table(AliasEntry(name="loans", alias="challenger", version=3))
        assert swap_aliases(read, "loans", expected={"challenger": 2}, wanted={"challenger": None}) is None

    def test_a_version_that_does_not_exist_is_refused(self, candidate: Candidate) -> None:
        with pytest.raises(RequestError):
            swap_aliases(pushed(candidate, 1), "loans", expected={}, wanted={"champion": 7})


def test_an_alias_may_name_nothing(candidate: Candidate) -> None:
    read = pushed(candidate, 1)
    found = [names_version(read, each) for each in ("loans", "loans@challenger", "loans/1", "loans/2", "cars")]
    assert found == [True, False, True, False, False]
