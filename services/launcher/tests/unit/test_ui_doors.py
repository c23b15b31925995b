"""Who may open which page of the web UI and act on it: every route and every act, with every kind of key and of token.

The pages ask the REST API over HTTP, here on the port that serves both, as the daemon does.
"""

import ssl
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, Final, NoReturn

import httpx
import pytest
from api_stage import guarded_api
from callers import NOW, WORTHLESS, doorkeeper, holding

from millrace.core.control.keys import Role
from millrace.core.errors import RequestError
from millrace.testing.clock import ManualClock
from millrace_launcher.adapters.rest.server import RestServer, listen
from millrace_launcher.ui.acting import _ACTS
from millrace_launcher.ui.site import Site

PAGES: Final = (
    "/",
    "/new",
    "/deployments/rain",
    "/deployments/rain/logs/scorer/0",
    "/deployments/rain/document",
    "/models",
    "/models/rain/1",
    "/nodes",
    "/history",
)
OPEN: Final = frozenset({"GET /sign-in", "POST /sign-in", "POST /sign-out", "GET /assets/{file}"})
DOCUMENT: Final = "deployment: rain\nsource:\n  topic: rain.features\nmodel: rain\n"
ACTS: Final[Mapping[str, tuple[Role, Mapping[str, str]]]] = {
    "scale": (Role.OPERATOR, {"name": "rain", "kind": "scorers", "count": "1"}),
    "plan": (Role.VIEWER, {"document": DOCUMENT}),
    "deploy": (Role.OPERATOR, {"document": DOCUMENT}),
    "delete": (Role.OPERATOR, {"name": "rain"}),
    "promote": (Role.OPERATOR, {"name": "rain", "version": "1"}),
    "rollback": (Role.OPERATOR, {"name": "rain"}),
}
SHOWN: Final = {
    name: text.removeprefix("Bearer ")
    for name, text in WORTHLESS.items()
    if text.isascii() and "Basic" not in text and not name.endswith(("viewer", "operator"))
}
"""What would open everything, if it held; what would open less is tried at the API, which is what decides."""
NOTHING: Final = "the desk has nothing"


class Empty:
    """A desk that was reached, and has nothing."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        def answer(*_: object, **__: object) -> NoReturn:
            raise RequestError(NOTHING)

        return answer


class Pages:
    """The pages and the API at work on one port."""

    def __init__(self, port: int, clock: ManualClock) -> None:
        self._url, self._clock = f"http://127.0.0.1:{port}", clock
        self._cookie = f"millrace-{port}"
        self._client = httpx.Client(base_url=self._url, timeout=60)

    def ask(
        self, method: str, path: str, key: str, *, by: str, form: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Ask with what somebody shows, in a cookie or in a header."""
        self._clock.advance(timedelta(hours=1))  # Or it is said to come too often.
        shown = {"Cookie": f"{self._cookie}={key}", "Authorization": f"Bearer {key}"}
        headers = {by: shown[by]} if key else {}
        return self._client.request(method, path, headers=headers, json=form)

    def close(self) -> None:
        self._client.close()


@pytest.fixture(scope="module")
def pages() -> Iterator[Pages]:
    clock = ManualClock()
    assert clock.wall_ms() == NOW
    api = guarded_api(Empty(), Empty(), doorkeeper(clock), clock=clock)
    with listen("127.0.0.1", 0) as server:
        port = server.getsockname()[1]
        trust = ssl.create_default_context()  # for nothing: it spares each client one of its own, which takes long
        with Site(f"http://127.0.0.1:{port}", clock, trust) as site:
            api.mount("/", site.application())
            with RestServer(api, server):
                made = Pages(port, clock)
                yield made
                made.close()


def test_every_route_and_act_is_declared() -> None:
    with Site("http://127.0.0.1:1", ManualClock()) as site:
        found = {
            f"{method} {route.path}"  # type: ignore[attr-defined]  # all of them are routes
            for route in site.application().routes
            for method in route.methods - {"HEAD"}  # type: ignore[attr-defined]
        }
    names = ("name", "kind", "number:int", "version:int")
    values = ("rain", "scorer", "0", "1")
    filled = set()
    for each in found - OPEN - {"POST /acts/{what}"}:
        path = each.removeprefix("GET ")
        for name, value in zip(names, values, strict=True):
            path = path.replace(f"{{{name}}}", value)
        filled.add(path)
    assert filled == set(PAGES)
    assert found >= OPEN
    assert set(ACTS) == set(_ACTS)


@pytest.mark.parametrize("by", ["Cookie", "Authorization"])
@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_for_who_is_known(pages: Pages, path: str, by: str) -> None:
    for role in Role:
        for who, shown in holding(role).items():
            answer = pages.ask("GET", path, shown, by=by)
            assert answer.status_code == (200 if path == "/new" else 404), answer.text
            assert f'title="{who}"' in answer.text
    for name, shown in SHOWN.items():
        answer = pages.ask("GET", path, shown, by=by)
        assert answer.status_code == (401 if shown else 303), name
        assert "title=" not in answer.text
        assert NOTHING not in answer.text, "nothing was asked for him"


@pytest.mark.parametrize("by", ["Cookie", "Authorization"])
@pytest.mark.parametrize("act", ACTS)
def test_an_act_is_for_its_role_and_those_above(pages: Pages, act: str, by: str) -> None:
    needs, form = ACTS[act]
    for role in Role:
        for who, shown in holding(role).items():
            answer = pages.ask("POST", f"/acts/{act}", shown, by=by, form=form)
            refused = f"{who} is {role}, and this takes the role {needs}"
            assert answer.json()["error"] == (NOTHING if role.includes(needs) else refused)
    for name, shown in SHOWN.items():
        answer = pages.ask("POST", f"/acts/{act}", shown, by=by, form=form)
        assert answer.status_code == 422, name
        assert answer.json()["error"] != NOTHING, name


def test_signing_in_keeps_what_holds_and_nothing_else(pages: Pages) -> None:
    for shown in holding(Role.VIEWER).values():
        answer = pages.ask("POST", "/sign-in", "", by="Cookie", form={"key": shown})
        assert answer.status_code == 200, answer.text
        assert shown in answer.headers["set-cookie"]
    for name, shown in {**SHOWN, "too long": "x" * 4_000}.items():
        answer = pages.ask("POST", "/sign-in", "", by="Cookie", form={"key": shown})
        assert (answer.status_code, "set-cookie" in answer.headers) == (422, False), name
