"""What the pages show, from what the REST API says."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from millrace.client import ControlClient, EvaluationEntry, ModelDetails, ModelVersion
from millrace.core.errors import RequestError, TransientError
from millrace.serving.catalogue import VersionEntry
from millrace.telemetry.scorer import LATENCY_BUCKETS
from millrace.testing.models import linear_bundle
from millrace_launcher.ui.asking import Asker, Asking
from millrace_launcher.ui.charts import HEIGHT, Line, chart
from millrace_launcher.ui.composing import overview
from millrace_launcher.ui.dashboard import Dashboard, dashboard
from millrace_launcher.ui.figures import Together, together
from millrace_launcher.ui.lists import entries, models, nodes
from millrace_launcher.ui.loglines import log_lines
from millrace_launcher.ui.rendering import Templates
from millrace_launcher.ui.river import Known, basins
from millrace_launcher.ui.words import LONGEST_MS, number

NOW = 60_000.0
NOTHING = together(())
GONE = {"deployment": "gone", "standing": "lost"}
EXAMPLES = Path(__file__).parents[4] / "schemas" / "models" / "v1" / "examples" / "valid"
NO_AUDITS: Mapping[str, Any] = {"windows": [], "alerts": []}


def series(rate: float, *, lag: float = 0, p99: float | None = 40.0, at: int = 58_000) -> dict[str, Any]:
    return {
        "at_ms": [at - 5_000, at],
        "done_rate": [rate, rate],
        "dead_letter_rate": [0, 0],
        "lag": [lag, lag],
        "p50_ms": [p99, p99],
        "p99_ms": [p99, p99],
        "memory_bytes": [1e8, 1e8],
        "cores": [0.1, 0.1],
    }


def slot(name: str, state: str = "ready", why: str = "ready") -> dict[str, Any]:
    return {
        "slot": name,
        "state": state,
        "why": why,
        "assignment": {"node": "a"},
        "process": {"pid": 7, "state": state},
    }


def status(name: str, *, topic: str = "rain.features", **changes: object) -> dict[str, Any]:
    said = {
        "deployment": name,
        "state": "ready",
        "why": "",
        "ready": 1,
        "desired": 1,
        "slots": [slot(f"{name}/scorer/0")],
        "document": {"deployment": name, "source": {"topic": topic}, "model": "rain@champion"},
    }
    return {**said, **changes}


def known(name: str, *, topic: str = "rain.features", scorers: Together = NOTHING) -> Known:
    return Known(status(name, topic=topic), scorers, NOTHING, (), None)


def shown(
    *,
    scorers: Together = NOTHING,
    versions: Sequence[Mapping[str, Any]] = (),
    topic: str = "rain.features",
    **changes: object,
) -> Dashboard:
    return dashboard(status("rain", topic=topic, **changes), scorers, {}, NO_AUDITS, versions, now_ms=NOW)


def page(template: str, role: str = "operator", **values: object) -> str:
    caller = {"who": "key/eve", "role": role}
    return Templates().render(template, {"caller": caller, "may_change": role != "viewer", "path": "/", **values})


def test_the_page_of_a_version_lists_its_evaluations(tmp_path: Path) -> None:
    entry = VersionEntry.model_validate_json((EXAMPLES / "version.json").read_text())
    evaluation = EvaluationEntry.model_validate_json((EXAMPLES / "evaluation.json").read_text())
    details = ModelDetails(ModelVersion(entry, ()), linear_bundle(tmp_path / "bundle").manifest, {})
    assert "evaluated on" not in page("model", model=details.document())
    shown = page("model", model=replace(details, evaluations=(evaluation,)).document())
    for words in ("held-out", "5f2d1c0a5f2d", "accuracy 0.940", "kay@desk", "2026-01-01 00:02"):
        assert words in shown


def test_processes_are_added_and_the_slowest_is_kept() -> None:
    found = together([series(10, lag=1, p99=40), series(5, lag=2, p99=90, at=57_600)])
    assert (found.latest("done_rate", NOW), found.latest("lag", NOW), found.latest("p99_ms", NOW)) == (15, 3, 90)


def test_a_figure_that_is_old_is_none() -> None:
    assert together([series(10)]).latest("done_rate", NOW + 60_000) is None


def test_deployments_of_one_topic_are_one_basin_in_which_the_wider_stream_carries_more() -> None:
    found = basins(
        [
            known("rain", scorers=together([series(20_000, lag=12)])),
            known("snow", scorers=together([series(3)])),
            known("sea", topic="sea.features"),
        ],
        now_ms=NOW,
    )
    assert [basin.source.name for basin in found] == ["rain.features", "sea.features"]
    wide, narrow = (course.steps[0][0] for course in found[0].courses)
    assert (wide.pace, narrow.pace) == ("fast", "slow")
    assert wide.width > narrow.width > found[1].courses[0].steps[0][0].width == 0
    assert found[0].source.notes == ("12 waiting",)


def test_latency_beyond_the_goal_is_bad_by_colour_and_the_goal_stands_beside_it() -> None:
    tile = next(tile for tile in shown(scorers=together([series(5, p99=900)])).tiles if tile.name == "latency p99")
    assert (tile.value, tile.note, tile.tone) == ("900 ms", "goal 200 ms", "bad")


@pytest.mark.parametrize(
    ("model", "rollout", "said"),
    [
        ("rain", {}, ("1", "2 waits as challenger")),
        ("rain@champion", {"mode": "shadow"}, ("1", "shadow: 2 scores too")),
        ("rain", {"mode": "canary"}, ("1", "canary: 10 % of the keys to 2")),
        ("rain@challenger", {}, ("2", "rain")),
        ("rain/2", {}, ("2", "rain")),
        ("other", {}, ("–", "other")),
    ],
)
def test_the_version_that_scores_and_the_one_that_is_tried_are_told(
    model: str, rollout: dict[str, str], said: tuple[str, str]
) -> None:
    versions = [
        {"name": "rain", "version": 1, "aliases": ["champion"]},
        {"name": "rain", "version": 2, "aliases": ["challenger"]},
    ]
    document = {"deployment": "rain", "source": {"topic": "t"}, "model": model, "rollout": rollout}
    tile = next(tile for tile in shown(versions=versions, document=document).tiles if tile.name == "version")
    assert (tile.value, tile.note) == said


def test_a_line_has_a_gap_where_nothing_is_known_and_a_long_one_keeps_its_peaks() -> None:
    [line] = chart("x", [0, 1, 2, 3], [Line("a", "main", [1, None, 2, 2])], say=number).lines
    assert line.path.count("M") == 2
    values = [1.0] * 2_000
    values[777] = 100.0
    [line] = chart("x", range(2_000), [Line("a", "main", values)], say=number, bounds=(0.0, 100.0)).lines
    assert line.path.count("L") < 200
    assert " 0.0L" in line.path, f"the peak at the top of {HEIGHT} is drawn"


def test_the_longest_latency_is_that_of_the_histogram() -> None:
    assert 1000 * LATENCY_BUCKETS[-1] == LONGEST_MS


def test_a_chart_says_the_time_of_day_and_over_days_the_day() -> None:
    day = 86_400_000
    line = [Line("a", "main", [1, 2])]
    hour, years = (chart("x", [0, length], line, say=number) for length in (3_600_000, 400 * day))
    assert (hour.begin, hour.end) == ("00:00", "01:00")
    assert (years.begin, years.end) == ("1970-01-01", "1971-02-05")


def test_changes_of_the_history_are_lines_and_what_is_new_or_gone_says_so() -> None:
    records = [
        {"at_ms": n, "sequence": n, "who": "ada", "what": "put", "subject": "deployment/rain", "result": "x",
         "before": {"t": {"rain": before}}, "after": {"t": {"rain": after}}, "digest": "d" * 64}
        for n, (before, after) in enumerate([(None, {"a": 1}), ({"a": 1}, {"a": 2}), ({"a": 2}, {}), ({"a": 2}, None)])
    ]  # fmt: skip
    found = [(change.verb, change.lines) for entry in entries(records) for change in entry.changes]
    assert found == [
        ("deleted", ("a: 2",)),
        ("changed", ("a: 2 -> default",)),
        ("changed", ("a: 1 -> 2",)),
        ("new", ("a: 1",)),
    ]
    assert [change.is_brief for entry in entries(records) for change in entry.changes] == [False, True, True, False]
    [long] = entries([{**records[1], "after": {"t": {"rain": {"a": "x" * 200}}}}])
    assert not long.changes[0].is_brief, "who wants to read that opens it"


def test_a_log_is_read_as_it_was_meant_and_what_is_none_of_ours_stays() -> None:
    ours = (
        '{"timestamp":"2026-11-23T08:07:17.975190Z","level":"error","event":"away","service":"scorer",'
        '"node":"a","slot":"rain/scorer/0","deployment":"rain","topic":"t"}'
    )
    first, second, third = log_lines([ours, "Traceback", "[1]"])
    assert (first.at, first.level, first.said, first.rest) == ("08:07:17", "error", "away", "topic=t")
    assert (second.said, third.said) == ("Traceback", "[1]")


def test_a_node_whose_packages_differ_from_those_of_most_is_marked() -> None:
    said = {
        "standing": "up", "decides": False, "cores_used": 1, "memory_used_bytes": 1, "processes": [], "url": "",
    }  # fmt: skip
    has = {"cores": 2, "memory_bytes": 2, "gpus": [], "kinds": [], "libraries": {}}
    given = [
        {**said, "node": name, "inventory": {**has, "environment": environment}}
        for name, environment in (("a", "x"), ("b", "y"), ("c", "x"))
    ]
    assert [node.name for node in nodes(given) if not node.is_alike] == ["b"]
    assert "differ from those" in page("nodes", nodes=nodes(given))
    assert "other nodes" not in page("nodes", nodes=nodes(given[:1])), "there is no other"


EMPTY: Mapping[str, dict[str, Any]] = {
    "overview": {"overview": {"basins": (), "nodes": 1, "nodes_up": 1, "cores_used": 0, "cores": 2}},
    "models": {"models": models([])},
    "history": {
        "entries": (),
        "wanted": {"deployment": "", "who": "", "what": ""},
        "chain": {"whole": True, "records": 0},
    },
    "deployment": {"shown": shown(slots=[]), "lines": [], "letters": []},
}


@pytest.mark.parametrize(
    ("template", "command"),
    [
        ("overview", "millrace deploy MODEL --from TOPIC"),
        ("models", "millrace model push"),
        ("history", "millrace deploy"),
        ("deployment", "millrace scale rain scorers=1"),
    ],
)
def test_a_page_with_nothing_on_it_says_what_to_type(template: str, command: str) -> None:
    assert command in page(template, **EMPTY[template])


@pytest.mark.parametrize("template", ["overview", "models", "deployment"])
def test_a_viewer_sees_nothing_to_press(template: str) -> None:
    version = {"name": "rain", "task": "binary", "pushed_at": "2026-01-01T00:00:00Z"}
    two = models([{**version, "version": n, "aliases": ["champion"] * (n == 1)} for n in (1, 2)])
    values = {**EMPTY[template], **({"models": two} if template == "models" else {})}
    assert "/acts/" in page(template, **values) or 'href="/new"' in page(template, **values)
    for_viewers = page(template, "viewer", **values)
    assert "/acts/" not in for_viewers
    assert 'href="/new"' not in for_viewers


def test_a_node_that_gives_no_figures_and_a_deployment_that_is_just_gone_leave_the_page() -> None:
    class Api:
        nodes = deployments = staticmethod(lambda: [{"deployment": "rain", "standing": "lost"}, GONE])

        def deployment(self, name: str) -> dict[str, Any]:
            if name == "gone":
                raise RequestError("there is no deployment 'gone'", remedy="")
            running = {**slot("rain/scorer/0"), "process": {"pid": 7, "state": "ready"}}
            return status(name, slots=[running])

        def series(self, _: str) -> dict[str, Any]:
            raise TransientError("the figures are on a node that does not give them", remedy="")

    [basin] = overview(cast("Asker", Api()), NOW).basins
    [course] = basin.courses
    assert (course.name, course.steps[0][0].words) == ("rain", "–")


def test_whatever_a_record_says_is_text() -> None:
    letter = {"source": "t-0-0", "reason": "x", "message": "<script>alert(1)</script>", "value": "<img src=x>"}
    why = "<b onload=x>"
    written = page("deployment", shown=shown(why=why), lines=[why], letters=[letter])
    assert "<script>alert" not in written
    assert "<img src=x" not in written
    assert "<b onload" not in written


def test_without_a_key_nothing_is_asked() -> None:
    with pytest.raises(RequestError, match="no key was shown"):
        Asking("http://127.0.0.1:1").of("")


def test_what_is_remembered_is_bounded_and_short_lived() -> None:
    asking = Asking("http://127.0.0.1:1")
    asked: list[ControlClient] = []

    def note(client: ControlClient) -> int:
        asked.append(client)
        return len(asked)

    for number_of in range(2_000):
        asking.answer("key", (number_of,), note, 60.0)
        asking.answer("key", (number_of,), note, 60.0)
    assert len(asked) == 2_000, "the second time it is known"
    assert len(asking._answers) == 512
    for client in range(40):
        asking.client(f"key-{client}")
    assert len(asking._clients) == 16
    asking.close()
