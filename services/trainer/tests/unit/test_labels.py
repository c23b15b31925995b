import json
from collections.abc import Sequence
from itertools import permutations

import pytest

from millrace.core.errors import RequestError
from millrace_trainer.logic.labels import LabelBook, Truth


def label(event: str, truth: Truth | None, revision: int = 0, *, op: str = "upsert") -> bytes:
    document = {"event_id": event, "label_time": 1, "revision": revision, "op": op}
    return json.dumps(document if truth is None else {**document, "label": truth}).encode()


def truth_of(*values: bytes) -> Truth | None:
    book = LabelBook(10)
    book.add(values)
    return book.look_up(["e"])[0]


def test_the_highest_revision_counts_in_any_order() -> None:
    values: Sequence[bytes] = [label("e", "no"), label("e", "yes", 1), label("e", "maybe", 2)]
    assert {truth_of(*order) for order in permutations(values)} == {"maybe"}


def test_an_equal_revision_changes_nothing() -> None:
    assert truth_of(label("e", "no"), label("e", "yes")) == "no"


def test_a_retraction_takes_the_truth_back_until_a_later_revision() -> None:
    taken = label("e", None, 1, op="retract")
    assert truth_of(label("e", "no"), taken) is None
    assert truth_of(taken, label("e", "no")) is None
    assert truth_of(label("e", "no"), taken, label("e", "yes", 2)) == "yes"


def test_an_event_without_a_label_has_no_truth() -> None:
    book = LabelBook(10)
    book.add([label("a", 1.5)])
    assert book.look_up(["a", "b"]) == [1.5, None]


def test_records_that_are_no_labels_are_counted_and_passed_over() -> None:
    book = LabelBook(10)
    book.add([None, b"", b"{", b'{"event_id": "a"}', label("a", 1)])
    assert book.invalid == 4
    assert book.look_up(["a"]) == [1]


def test_more_events_than_the_bound_are_refused() -> None:
    book = LabelBook(2)
    book.add([label("a", 1), label("b", 1), label("b", 2, 1)])
    with pytest.raises(RequestError, match="more than 2 events"):
        book.add([label("c", 1)])
