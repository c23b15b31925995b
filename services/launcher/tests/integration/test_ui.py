"""The web UI in a real browser that reaches nothing but this machine, before a real daemon."""

from collections.abc import Iterator
from typing import Any, Final

import httpx
import psutil
import pytest
from browser import LAPTOP, PHONE, Browser, Tab, chromium
from fleet_stage import PATIENCE, Stage, stage

from millrace.kafka.admin import Admin, TopicSpec
from millrace.process.settings import Settings
from millrace.serving.registry import Registry
from millrace.serving.shelf import Shelf
from millrace.testing.broker import temporary_broker
from millrace.testing.models import linear_bundle
from millrace.testing.waiting import eventually

NODE: Final = "alder"
WRITTEN: Final = "deployment: hail\nsource:\n  topic: rain.features\nmodel: rain-model\n"
PAGES: Final = (
    "/",
    "/new",
    "/deployments/rain",
    "/deployments/rain/document",
    "/deployments/rain/logs/scorer/0",
    "/models",
    "/models/rain-model/1",
    "/nodes",
    "/history",
)
GROWTH_BYTES: Final = 8 << 20
"""What 50 pages, opened and closed three times, may leave in the daemon: answers that are kept, and the allocator's."""

CONTRAST: Final = """
(() => {
  const part = (c) => { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  const colour = (text) => text.match(/[\\d.]+/g).map(Number);
  const under = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const found = colour(getComputedStyle(at).backgroundColor);
      if (found.length === 3 || found[3] === 1) return found.slice(0, 3);
    }
    return matchMedia("(prefers-color-scheme: dark)").matches ? [0, 0, 0] : [255, 255, 255];
  };
  const low = [];
  for (const element of document.querySelectorAll("body *")) {
    const says = [...element.childNodes].some((node) => node.nodeType === 3 && node.nodeValue.trim());
    if (!says || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const [a, b] = [light(colour(style.color)), light(under(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) low.push(`${ratio.toFixed(2)}: ${element.textContent.trim().slice(0, 40)}`);
  }
  return low;
})()
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A node with a model and a topic, and no deployment yet."""
    home = tmp_path_factory.mktemp("ui") / "home"
    with temporary_broker() as broker:
        Admin(broker.kafka).ensure_topics([TopicSpec("rain.features", 2)])
        with Registry(broker.kafka, Shelf.of(Settings(home=home)), who="test") as registry:
            registry.push(linear_bundle(home.parent / "bundle", name="rain-model").directory)
        with stage(broker, home) as made:
            made.start(NODE)
            yield made


@pytest.fixture
def rain(node: Stage) -> Stage:
    """The node with a deployment."""
    with node.control() as control:
        if "rain" not in {found["deployment"] for found in control.deployments()}:
            control.put("rain", {"deployment": "rain", "source": {"topic": "rain.features"}, "model": "rain-model"})
    return node


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.fixture
def tab(browser: Browser, node: Stage) -> Iterator[Tab]:
    """A page that the owner is signed in to; at the end it has complained of nothing."""
    with browser.tab() as opened:
        sign_in(opened, node)
        yield opened
        assert opened.complaints == []


def sign_in(tab: Tab, node: Stage, key: str | None = None) -> None:
    with node.control() as control:
        address = control.sign_in_address()
    tab.open(address if key is None else f"{address.partition('#')[0]}#{key}")
    tab.await_text("The river")
    assert "#" not in tab.value("location.href"), "the key does not stay in the address"


def address(node: Stage, path: str) -> str:
    with node.control() as control:
        return f"{control.url}{path}"


def fill(tab: Tab, selector: str, text: str) -> None:
    tab.value(f"document.querySelector({selector!r}).value = {text!r}")


def history_of(node: Stage, deployment: str, what: str) -> list[dict[str, Any]]:
    with node.control() as control:
        return control.history(deployment, what=what)


def test_s71_a_deployment_that_is_written_on_the_page_appears_and_turns_ready(tab: Tab, node: Stage) -> None:
    tab.open(address(node, "/new"))
    fill(tab, "#document", WRITTEN.replace("rain.features", "rian.features"))
    tab.click("form[data-plan] button")
    tab.await_text("rian.features", "#plan .bad")
    fill(tab, "#document", WRITTEN)
    tab.click("form[data-plan] button")
    tab.await_text("start hail/scorer/0", "#plan")
    assert history_of(node, "hail", "put") == [], "a plan changes nothing"
    tab.click("form[data-document] button")
    tab.await_text("hail", "h1")
    tab.open(address(node, "/"))
    seen: list[str] = []

    def is_ready() -> bool:
        state = tab.text(".course:has([href='/deployments/hail']) .deployment .state")
        if state not in seen:
            seen.append(state)
        return state == "ready"

    eventually(is_ready, within=PATIENCE, what="a deployment that turns ready without a reload")
    assert len(seen) > 1, f"its state turned: {seen}"


def test_s72_scaling_on_the_page_is_the_request_of_the_command_line(tab: Tab, rain: Stage) -> None:
    tab.open(address(rain, "/deployments/rain"))
    tab.await_text("Processes")
    fill(tab, "form[data-act='/acts/scale'] [name=count]", "2")
    tab.click("form[data-act='/acts/scale'] button")
    tab.await_text("Scale scorers of rain to 2?", "#sure")
    assert history_of(rain, "rain", "scale") == [], "nothing happens before it is confirmed"
    tab.press("Escape", 27)
    tab.click("form[data-act='/acts/scale'] button")
    tab.click("#sure-yes")
    tab.await_text("rain shall have 2 scorers", "#told")
    tab.await_text("scorer/1")
    with rain.control() as control:
        control.scale("rain", {"scorers": 1})
        control.scale("rain", {"scorers": 2})
    by_page, _, by_command = history_of(rain, "rain", "scale")
    told = ("who", "what", "subject", "before", "after")
    assert {name: by_page[name] for name in told} == {name: by_command[name] for name in told}
    tab.open(address(rain, "/history?what=scale"))
    tab.await_text("scale.scorers")
    assert "whole:" in tab.text()


def test_a_viewer_sees_nothing_to_press_and_can_do_nothing(browser: Browser, rain: Stage) -> None:
    with rain.control() as control:
        key = control.create_key("eve", role="viewer")["key"]
    with browser.tab() as tab:
        sign_in(tab, rain, key)
        for path in PAGES:
            tab.open(address(rain, path))
            assert tab.value("document.querySelectorAll('main [data-act], main a.button:not(.quiet)').length") == 0
        tab.value(
            "fetch('/acts/scale', {method: 'POST', headers: {'Content-Type': 'application/json'},"
            " body: JSON.stringify({name: 'rain', kind: 'scorers', count: '9'})})"
            ".then((answer) => answer.json()).then((said) => document.title = said.error)"
        )
        assert "takes the role operator" in tab.value("document.title")
        with rain.control() as control:
            control.revoke_key("eve")
        tab.await_text("Sign in")


def test_every_page_fits_a_phone_is_legible_and_complains_of_nothing(tab: Tab, rain: Stage) -> None:
    for size in (PHONE, LAPTOP):
        tab.resize(*size)
        for path in PAGES:
            tab.open(address(rain, path))
            wide = tab.value("document.documentElement.scrollWidth")
            assert wide <= size[0], f"{path} is {wide} wide on a screen of {size[0]}"
            for scheme in ("light", "dark"):
                tab.scheme(scheme)
                assert tab.value(CONTRAST) == [], f"{path} in the {scheme}"


def test_the_checks_of_a_page_can_fail(tab: Tab) -> None:
    tab.resize(*PHONE)
    tab.value("document.querySelector('h1').style.color = '#aab2ba'")
    assert tab.value(CONTRAST)[0].endswith("The river")
    tab.value("document.querySelector('h1').style.minWidth = '900px'")
    assert tab.value("document.documentElement.scrollWidth") > PHONE[0]
    tab.value("console.error('planted')")
    assert len(tab.complaints) == 1
    tab.value("fetch('http://example.org/').catch(() => 0)")
    assert len(tab.complaints) > 1, "another host is neither allowed nor reachable"
    tab.complaints.clear()


def test_pages_are_used_without_a_mouse(tab: Tab, rain: Stage) -> None:
    tab.open(address(rain, "/deployments/rain"))
    tab.await_text("Processes")
    reached = []
    for _ in range(20):
        tab.press("Tab", 9)
        reached.append(tab.value("document.activeElement.innerText || document.activeElement.name"))
        outline = tab.value("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", f"where one is can be seen: {reached[-1]}"
    assert {"To the content", "Overview", "History", "Document", "Delete", "count"} <= set(reached)
    tab.value("document.querySelector('form[data-act=\"/acts/delete\"] button').focus()")
    tab.press("Enter", 13)
    tab.await_text("Delete rain?", "#sure")
    assert tab.value("document.activeElement.innerText") == "Leave it", "the harmless answer is the first"
    tab.press("Escape", 27)
    eventually(lambda: not tab.value("document.querySelector('#sure').open"), within=PATIENCE, what="a closed dialog")


def test_fifty_pages_leave_nothing_behind(rain: Stage) -> None:
    with rain.control() as control:
        key = control.sign_in_address().partition("#")[2]
    port = control.url.rpartition(":")[2]
    daemon = psutil.Process(rain.daemons[NODE].pid)
    with httpx.Client(base_url=control.url, cookies={f"millrace-{port}": key}, trust_env=False, timeout=30) as client:

        def open_fifty() -> None:
            for number in range(50):
                assert client.get(PAGES[number % len(PAGES)]).status_code == 200

        open_fifty()
        before = daemon.memory_info().rss
        for _ in range(3):
            open_fifty()
    grown = daemon.memory_info().rss - before
    assert grown < GROWTH_BYTES, f"{grown / 1e6:.1f} MB more"


def test_a_page_is_nobodys_but_who_has_a_key(rain: Stage) -> None:
    with httpx.Client(base_url=address(rain, ""), trust_env=False) as client:
        assert client.get("/deployments/rain").headers["location"] == "/sign-in"
        said = client.post("/acts/delete", json={"name": "rain"}).json()
        assert "no key was shown" in said["error"]
        assert client.post("/sign-in", json={"key": "wrong"}).json()["error"] == "the key is wrong"
        policy = client.get("/sign-in").headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "http" not in policy, "nothing comes from elsewhere"


def test_who_is_asked_for_a_key_pastes_the_address_that_signs_in(browser: Browser, rain: Stage) -> None:
    with browser.tab() as tab:
        tab.open(address(rain, "/"))
        tab.await_text("Sign in")
        sign_in(tab, rain)


def test_a_daemon_that_is_lost_is_said_and_the_page_recovers_by_itself(browser: Browser, rain: Stage) -> None:
    with browser.tab() as tab:
        sign_in(tab, rain)
        port = int(address(rain, "").rpartition(":")[2])
        rain.kill_daemon(NODE)
        tab.await_text("The daemon does not answer", "#lost")
        assert "millrace up" in tab.text("#lost")
        rain.start(NODE, port=port)
        eventually(
            lambda: tab.value("document.querySelector('#lost').hidden"), within=PATIENCE, what="a page that recovers"
        )
        assert "rain" in tab.text()
