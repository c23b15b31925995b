from dataclasses import replace

import pytest

from millrace.core.errors import RequestError
from millrace.kafka.history import Broken, HistoryEntry, HistoryRecord, Json, append, verify


def entry(number: int, subject: str = "model/m") -> HistoryEntry:
    after: dict[str, dict[str, Json | None]] = {"millrace.models": {f"m/{number}": {"version": number, "score": 0.1}}}
    return HistoryEntry(subject, f"id-{number}", number * 1000, "tester", "push version", {}, after, number)


def chain(length: int, subject: str = "model/m") -> list[HistoryRecord]:
    records: list[HistoryRecord] = []
    for number in range(1, length + 1):
        records.append(append(records[-1] if records else None, entry(number, subject)))
    return records


def test_a_chain_is_whole() -> None:
    assert verify(chain(5)) is None
    assert verify([]) is None


def test_subjects_have_chains_of_their_own() -> None:
    mixed = [record for pair in zip(chain(3), chain(3, "model/other"), strict=True) for record in pair]
    assert verify(mixed) is None


def test_survives_the_topic() -> None:
    records = chain(3)
    assert [HistoryRecord.from_json(record.to_json()) for record in records] == records


def test_an_edited_record_is_found() -> None:
    records = chain(5)
    records[2] = replace(records[2], entry=replace(records[2].entry, who="somebody else"))
    assert verify(records) == Broken("model/m", 3, "its content is not what its digest was made from")


def test_an_edited_record_with_a_new_digest_breaks_the_next_link() -> None:
    records = chain(5)
    records[2] = append(records[1], replace(records[2].entry, who="somebody else"))
    assert verify(records) == Broken("model/m", 4, "it does not follow the record before it")


def test_a_missing_record_is_found() -> None:
    records = chain(5)
    del records[2]
    assert verify(records) == Broken("model/m", 4, "it does not follow the record before it")


def test_a_missing_beginning_is_found() -> None:
    assert verify(chain(3)[1:]) == Broken("model/m", 2, "it does not follow the record before it")


def test_a_wrong_number_is_found() -> None:
    first, second = chain(2)
    renumbered = append(replace(first, sequence=7), second.entry)
    assert verify([first, renumbered]) == Broken("model/m", 8, "its number does not follow the one before it")


@pytest.mark.parametrize("value", [{}, {"sequence": "x"}, {**append(None, entry(1)).to_json(), "sequence": None}])
def test_anything_else_is_no_history(value: dict[str, object]) -> None:
    with pytest.raises(RequestError, match="none of history"):
        HistoryRecord.from_json(value)
