"""The page as a browser gets it."""

import re
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from millrace.client.audits import DriftOfFeature
from millrace.client.report import compose, render
from millrace.core.errors import RequestError
from tests.unit.client.report.story import FEATURES, WINDOWS, audit, material

EVIL = "<script>alert(1)</script>"


class Elements(HTMLParser):
    """Every element with its attributes, and the text of the page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(scope="module")
def page() -> str:
    return render(compose(material()))


@pytest.fixture(scope="module")
def elements(page: str) -> Elements:
    return Elements(page)


def test_it_asks_nobody_for_anything(page: str, elements: Elements) -> None:
    assert not {"script", "link", "iframe", "object", "embed"} & {tag for tag, _ in elements.found}
    addresses = [
        value or ""
        for _, attributes in elements.found
        for name, value in attributes.items()
        if name.endswith(("href", "src"))
    ]
    assert addresses
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in addresses)
    assert not re.search(r"url\((?!#)|@import", page)


def test_every_picture_is_there_twice_with_a_text_for_who_does_not_see_it(elements: Elements) -> None:
    pictures = elements.all("svg")
    assert len(pictures) == 2 * 6
    assert all(picture["role"] == "img" and len(picture["aria-label"] or "") > 40 for picture in pictures)
    divisions = Counter(attributes.get("class") for attributes in elements.all("div"))
    assert divisions["laptop"] == divisions["phone"] == 6


def test_behind_every_picture_lie_its_numbers(elements: Elements) -> None:
    with_pictures = [section for section in compose(material()).sections if section.pictures]
    assert len(elements.all("details")) == len(with_pictures) == 5
    assert len(elements.all("table")) == 5 + 2
    assert len(elements.all("tr")) > 3 * WINDOWS


def test_the_parts_of_pictures_have_names_of_their_own(page: str, elements: Elements) -> None:
    names = Counter(attributes["id"] for _, attributes in elements.found if "id" in attributes)
    assert [name for name, times in names.items() if times > 1] == []
    used = set(re.findall(r"url\(#([^)]+)\)", page)) | {
        (attributes.get("xlink:href") or "#")[1:] for attributes in elements.all("use")
    }
    assert used <= set(names)


def test_it_is_readable_by_day_by_night_and_on_a_phone(page: str) -> None:
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    assert "@media (prefers-color-scheme: dark)" in page
    assert "@media (max-width: 640px)" in page
    assert "#0a0b" not in page  # no colour of a drawing that did not become the page's
    fixed = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{3,6})", page))
    assert fixed <= {"#000000"}, "matplotlib's own black, of marks that have no area"


def test_versions_alerts_and_requests_are_written_into_the_picture(page: str) -> None:
    drawn = page[page.index('id="performance"') : page.index('id="estimate"')]
    for text in ("v1", "v2", "sea_level_pressure +1", "error rate", "refused", "retraining"):
        assert f">{text}</text>" in drawn, text
    assert "baseline, 0.800" in drawn


def test_the_same_material_is_the_same_page(page: str) -> None:
    assert render(compose(material())) == page


def test_names_cannot_break_out() -> None:
    drift = (DriftOfFeature(EVIL, 0.3, 0.3, 40.0), DriftOfFeature("$x^$ 価格", 0.1, 0.01, 0.0))
    audits = tuple(replace(audit(window, 0.8), model=EVIL, drift=drift) for window in range(3))
    page = render(compose(material(deployment=EVIL, audits=audits, alerts=(), loops=())))
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    parsed = Elements(page)
    assert f"{EVIL}: audit" in parsed.texts
    assert "$x^$ 価格" in parsed.texts


def test_one_window_and_a_thousand_windows_can_be_drawn() -> None:
    few = render(compose(material(audits=(audit(0, 0.8),), alerts=(), loops=())))
    assert "<svg" in few
    hundreds = tuple(audit(window, 0.8, version=1) for window in range(400))
    many = render(compose(material(audits=hundreds, loops=())))
    assert len(many) < 2_000_000


def test_nothing_yet_is_a_page_too() -> None:
    page = render(compose(material(audits=(), alerts=(), loops=())))
    assert "No window is complete yet" in page
    assert "<svg" not in page


def test_many_features_and_long_names_leave_room() -> None:
    names = [f"{FEATURES[0]}_measured_at_station_{number}" for number in range(40)]
    drift = tuple(DriftOfFeature(name, 0.2, 0.01 * number, 1.0) for number, name in enumerate(names))
    page = render(compose(material(audits=tuple(audit(window, 0.8, drift=drift) for window in range(3)))))
    assert ">sea_level_pressure_meas…</text>" in page
    assert "16 features with less drift are only in the table." in page


def test_without_the_extra_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(RequestError, match="needs the package jinja2") as refused:
        render(compose(material()))
    assert refused.value.remedy == "pip install 'millrace[report]'"
