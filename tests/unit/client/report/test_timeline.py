"""What happened when."""

from dataclasses import replace

from millrace.client.report.marking import pack
from millrace.client.report.model import Happening, Mark
from millrace.client.report.timeline import marks_of, outside
from tests.unit.client.report.story import LOOP, REFUSED_LOOP, answer, audit, day, material, requested


def marks(happening: Happening, **changes: object) -> list[Mark]:
    return [mark for mark in marks_of(material(**changes)) if mark.happening is happening]


def test_alerts_stand_at_the_end_of_the_window_that_decided_and_what_is_alike_together() -> None:
    assert marks(Happening.RAISED) == [
        Mark(day(10), Happening.RAISED, "humidity"),
        Mark(day(15), Happening.RAISED, "sea_level_pressure +1"),
        Mark(day(16), Happening.RAISED, "error rate"),
    ]
    assert [mark.at for mark in marks(Happening.ESCALATED)] == [day(18)]
    assert [mark.text for mark in marks(Happening.CLEARED)] == ["humidity", "error rate +1"]


def test_requests_stand_at_their_event_time_and_answers_beside_them() -> None:
    assert [mark.at for mark in marks(Happening.REQUESTED)] == [day(16), day(19)]
    assert marks(Happening.REFUSED) == [Mark(day(16), Happening.REFUSED, "refused")]


def test_an_answer_stands_where_the_auditor_heard_of_it() -> None:
    noted = answer("noted", REFUSED_LOOP, deployment="rain", event_time=day(17).isoformat(), why="heard")
    assert [mark.at for mark in marks(Happening.REFUSED, loops=(*material().loops, noted))] == [day(17)]


def test_failures_rejections_and_proposals_are_marked() -> None:
    rejected = answer("rejected", "other", blocker="cooldown", why="too soon")
    loops = (requested(3), answer("failed", why="it broke"), requested(4, "other"), rejected)
    assert [mark.text for mark in marks(Happening.REFUSED, loops=loops)] == ["failed", "rejected"]
    proposed = (requested(3), answer("proposed", candidate=2, why="the gain may be chance"))
    assert marks(Happening.PROPOSED, loops=proposed) == [Mark(day(4), Happening.PROPOSED, "v2")]


def test_an_answer_whose_request_is_not_known_is_not_marked() -> None:
    assert marks(Happening.REFUSED, loops=(answer("refused", LOOP, why="no"),)) == []


def test_a_promotion_and_a_rollback_are_where_the_predictions_change() -> None:
    audits = tuple(audit(window, 0.8, version=version) for window, version in enumerate([1, 1, 2, 2, 1]))
    assert marks(Happening.PROMOTED, audits=audits) == [Mark(day(2), Happening.PROMOTED, "v2")]
    assert marks(Happening.ROLLED_BACK, audits=audits) == [Mark(day(4), Happening.ROLLED_BACK, "v1")]


def test_a_canary_that_predicts_less_is_not_in_force() -> None:
    few = {"predictions": 70, "labelled": 70}
    audits = (audit(0, 0.8), audit(1, 0.8), replace(audit(1, 0.9, version=2), counts=few))
    assert marks(Happening.PROMOTED, audits=audits) == []


def test_what_lies_outside_the_windows_is_named() -> None:
    told = material(loops=(requested(500),))
    assert outside(marks_of(told), told).endswith("only in the tables below: retraining asked for.")
    assert outside(marks_of(material()), material()) == ""


def test_labels_cover_no_other_label_and_give_way_when_there_is_no_room() -> None:
    spans = [(float(start), start + 2.5) for start in range(6)]
    rows = pack(spans, most=3)
    assert rows == [0, 1, 2, 0, 1, 2]
    assert pack(spans, most=2)[2] is None
