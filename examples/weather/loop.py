"""What is known of the loop while the story runs: reports, alerts, requests and their answers. No input or output."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby
from typing import Final

from examples.weather.days import day_at
from millrace.client.audits import Audit, AuditAlert
from millrace.process.retraining import (
    ENDS,
    Accepted,
    Completed,
    Failed,
    LoopAnswer,
    Promoted,
    Proposed,
    Refused,
    Rejected,
    Requested,
)

CALM_DAYS: Final = 365
"""The most days that the stream runs ahead of the last report while nothing new has been noticed."""

ALERT_DAYS: Final = 146
"""The same for a year after an alert: the distance of two reports."""


class Kind(StrEnum):
    """What sort of thing has happened."""

    ALERT = "alert"
    REQUEST = "request"
    ANSWER = "answer"
    PROMOTION = "promotion"


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that the loop has done.

    Attributes:
        day: The day on which it was decided; of an answer, the day of its request.
        kind: What sort of thing it is.
        who: Who did it.
        what: In a few words.
    """

    day: int
    kind: Kind
    who: str
    what: str


@dataclass(slots=True)
class Loop:
    """Adds up what the subscriptions bring. One thread.

    Attributes:
        first: The first day of the stream.
        window_days: Length of the auditor's windows.
    """

    first: int
    window_days: int
    _audited: int = 0
    _accuracies: dict[tuple[int, int], float] = field(default_factory=dict)
    _alerts: list[AuditAlert] = field(default_factory=list)
    _requests: dict[str, Requested] = field(default_factory=dict)
    _answers: list[LoopAnswer] = field(default_factory=list)

    def add_report(self, report: Audit) -> None:
        """A report was received."""
        end, accuracy = day_at(report.window.end), report.performance.get("accuracy")
        self._audited = max(self._audited, end)
        if report.stage != "closed" and accuracy is not None and accuracy.value is not None:
            self._accuracies[report.version, end] = accuracy.value

    def add_alert(self, alert: AuditAlert) -> None:
        """A change of an alert was received."""
        self._alerts.append(alert)

    def add_record(self, record: Requested | LoopAnswer) -> None:
        """A request for a better version, or an answer, was received."""
        if isinstance(record, Requested):
            self._requests[record.loop_id] = record
        else:
            self._answers.append(record)

    @property
    def audited(self) -> int:
        """The day up to which there are reports."""
        return max(self._audited, self.first)

    def accuracies(self, version: int) -> dict[int, float]:
        """What the auditor measured of a version, by the day on which the window ends."""
        return {end: value for (each, end), value in sorted(self._accuracies.items()) if each == version}

    @property
    def is_asking(self) -> bool:
        """Whether a request is still without its last answer."""
        return bool(self._requests.keys() - {answer.loop_id for answer in self._answers if isinstance(answer, ENDS)})

    def reach(self, today: int) -> int:
        """How far the stream may go now: it waits for the loop, and looks at nothing else.

        Outside, a day takes a day, and a report or a training takes minutes. Here a day takes a few milliseconds. So
        the stream stands still while a request is open, and stays near the reports for a year after an alert.
        """
        if self.is_asking:
            return today
        alerted = max(map(self._day_of, self._raised()), default=-self.window_days)
        is_calm = self.audited > alerted + self.window_days
        return self.audited + (CALM_DAYS if is_calm else ALERT_DAYS)

    @property
    def first_request(self) -> int | None:
        """The day of the first request; None without any."""
        return min((day_at(request.not_before) for request in self._requests.values()), default=None)

    @property
    def promotions(self) -> tuple[tuple[Completed, Promoted], ...]:
        """The candidates that became the champion, each with its comparison, oldest first."""
        compared = {answer.loop_id: answer for answer in self._answers if isinstance(answer, Completed)}
        promoted = [answer for answer in self._answers if isinstance(answer, Promoted)]
        return tuple((compared[answer.loop_id], answer) for answer in promoted if answer.loop_id in compared)

    def first_named(self, feature: str) -> int | None:
        """The day of the first alert that names a feature; None without any."""
        return min((self._day_of(alert) for alert in self._raised() if alert.feature == feature), default=None)

    def named_on(self, day: int) -> tuple[str, ...]:
        """The features that drift alerts of this day name, as they were written: strongest first."""
        return tuple(alert.feature for alert in self._raised() if alert.feature and self._day_of(alert) == day)

    @property
    def happenings(self) -> tuple[Happening, ...]:
        """What was done, by day."""
        done = [*self._alert_happenings(), *self._request_happenings()]
        return tuple(sorted(done, key=lambda happening: happening.day))

    def news(self, count: int) -> tuple[Happening, ...]:
        """So many happenings: requests, answers and the alerts of the year before them, then the newest others."""
        happenings, asked = self.happenings, [day_at(request.not_before) for request in self._requests.values()]

        def is_of_a_request(one: Happening) -> bool:
            return one.kind is not Kind.ALERT or any(0 <= day - one.day <= self.window_days for day in asked)

        others = [one for one in happenings if not is_of_a_request(one)]
        chosen = [*reversed([one for one in happenings if is_of_a_request(one)]), *reversed(others)][:count]
        return tuple(one for one in happenings if one in chosen)

    def _raised(self) -> Iterator[AuditAlert]:
        return (alert for alert in self._alerts if alert.state == "raised")

    def _day_of(self, alert: AuditAlert) -> int:
        return day_at(alert.windows[-1]) + self.window_days

    def _alert_happenings(self) -> Iterator[Happening]:
        for (day, signal, version), alerts in groupby(
            self._raised(), key=lambda alert: (self._day_of(alert), alert.signal, alert.version)
        ):
            yield Happening(day, Kind.ALERT, "auditor", _alert_words(signal, version, list(alerts)))

    def _request_happenings(self) -> Iterator[Happening]:
        for request in self._requests.values():
            day, trigger = day_at(request.not_before), request.trigger
            words = f"asks for a better version than {request.version}"
            if trigger.observed is not None and trigger.baseline:
                words += f": {trigger.observed:.0%} wrong, {trigger.baseline:.0%} is usual"
            yield Happening(day, Kind.REQUEST, "auditor", words)
            answers = [answer for answer in self._answers if answer.loop_id == request.loop_id]
            if len(answers) > 1:
                answers = [answer for answer in answers if not isinstance(answer, Accepted)]  # it is old news then
            for answer in answers:
                if words := _answer_words(answer):
                    kind = Kind.PROMOTION if isinstance(answer, Promoted) else Kind.ANSWER
                    yield Happening(day, kind, "trainer", words)


def _alert_words(signal: str, version: int, alerts: list[AuditAlert]) -> str:
    about = f"version {version}, " if version > 1 else ""
    match signal:
        case "drift":
            return f"{about}drift of {', '.join(alert.feature for alert in alerts)}"
        case "estimate":
            return f"{about}its scores alone make it expect more errors"
        case "performance":
            return f"{about}errors have risen by {alerts[0].effect or 0:.0%}"
        case _:
            return f"{about}{signal}: {', '.join(alert.feature or alert.metric for alert in alerts)}"


def _answer_words(answer: LoopAnswer) -> str:
    match answer:
        case Accepted():
            return "takes it up"
        case Completed(dataset=data, evaluation=found):
            return (
                f"learned from {data.train} days; {found.candidate.value:.0%} of {found.rows} later ones right, "
                f"champion {found.champion.value:.0%}"
            )
        case Promoted(candidate=version):
            return f"version {version} becomes the champion"
        case Refused():
            return "keeps the champion"
        case Rejected(why=why) | Failed(why=why) | Proposed(why=why):
            return f"no: {why}"
        case _:
            return ""
