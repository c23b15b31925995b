"""The pages over HTTP: who looks is known by a cookie that holds his key, or by what a proxy shows for him.

Nothing of it is kept here.
"""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from typing import Any, Final, Self, TypeAlias

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from millrace.core.clock import Clock
from millrace.core.control.keys import shown_key
from millrace.core.errors import MillraceError, RequestError
from millrace_launcher.ui.acting import act
from millrace_launcher.ui.asking import Asker, Asking
from millrace_launcher.ui.composing import deployment_page, overview
from millrace_launcher.ui.lists import entries, models, nodes
from millrace_launcher.ui.loglines import log_lines
from millrace_launcher.ui.rendering import Templates

Content: TypeAlias = Callable[[Asker, Request], Mapping[str, Any]]

_WORKERS: Final = 4
"""Threads that write pages. Their own, because the REST API that they ask has the server's."""
_LONGEST: Final = 1_100_000
"""Bytes of a form: a deployment document is no longer."""
_LONGEST_KEY: Final = 3_800
"""Characters of a key or a token: with its name, a cookie has 4,096 bytes."""
_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_GUARDS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Site:
    """The web UI. Close it, or use it in a `with`.

    Args:
        url: Of the REST API, which is all that it asks.
        clock: The system's.
        trust: Whose certificates are trusted where the API speaks TLS; the environment's where absent.
    """

    def __init__(self, url: str, clock: Clock, trust: ssl.SSLContext | None = None) -> None:
        self._clock = clock
        self._asking = Asking(url, trust)
        self._templates = Templates()
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="ui")
        self._cookie = f"millrace-{url.rpartition(':')[2].strip('/')}"  # Cookies do not tell ports apart.
        self._assets = _read_assets()

    def application(self) -> Starlette:
        """The pages, to be mounted beside the REST API."""
        pages: Mapping[str, tuple[str, Content]] = {
            "/": ("overview", self._overview),
            "/new": ("deploy", lambda api, request: {}),
            "/deployments/{name}": ("deployment", self._deployment),
            "/deployments/{name}/logs/{kind}/{number:int}": ("logs", _logs),
            "/deployments/{name}/document": ("document", _document),
            "/models": ("models", lambda api, request: {"models": models(api.models())}),
            "/models/{name}/{version:int}": ("model", _model),
            "/nodes": ("nodes", lambda api, request: {"nodes": nodes(api.nodes())}),
            "/history": ("history", _history),
        }
        routes = [Route(path, self._page(template, content)) for path, (template, content) in pages.items()]
        return Starlette(
            routes=[
                *routes,
                Route("/sign-in", self._sign_in_page),
                Route("/sign-in", self._sign_in, methods=["POST"]),
                Route("/sign-out", self._sign_out, methods=["POST"]),
                Route("/acts/{what}", self._act, methods=["POST"]),
                Route("/assets/{file}", self._asset),
            ]
        )

    def close(self) -> None:
        """Release everything."""
        self._workers.shutdown(cancel_futures=True)
        self._asking.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _page(self, template: str, content: Content) -> Callable[[Request], Awaitable[Response]]:
        def write(request: Request) -> Response:
            key = self._shown(request)
            if not key:
                return RedirectResponse("/sign-in", 303)
            api = self._asking.of(key)
            try:
                caller = api.caller()
            except RequestError as error:
                return self._html("sign-in", {"error": error, "caller": None}, status=401)
            except MillraceError as error:
                return self._html("error", {"error": error, "caller": None}, status=503)
            known = {"caller": caller, "may_change": caller["role"] != "viewer", "path": request.url.path}
            try:
                return self._html(template, {**known, **content(api, request)})
            except RequestError as error:
                return self._html("error", {**known, "error": error}, status=404)
            except MillraceError as error:
                return self._html("error", {**known, "error": error}, status=503)

        async def serve(request: Request) -> Response:
            return await self._work(write, request)

        return serve

    def _shown(self, request: Request) -> str:
        """The token that a proxy before the pages has signed in with, or else the key of who signed in here."""
        return shown_key(request.headers.get("authorization", "")) or request.cookies.get(self._cookie, "")

    async def _work(self, work: Callable[..., Response], *arguments: object) -> Response:
        return await asyncio.get_running_loop().run_in_executor(self._workers, work, *arguments)

    async def _sign_in_page(self, _: Request) -> Response:
        return self._html("sign-in", {"error": None, "caller": None})

    async def _sign_in(self, request: Request) -> Response:
        key = str((await _form(request)).get("key", "")).strip()

        def check() -> Response:
            try:
                if len(key) > _LONGEST_KEY:
                    raise RequestError("no browser keeps a text of this length", remedy="let a proxy show the token")
                self._asking.forget(key)
                caller = self._asking.of(key).caller()
            except MillraceError as error:
                return _refusal(error)
            answer = JSONResponse({"said": f"Signed in as {caller['who']}.", "goto": "/"})
            # For as long as the browser is open; a script cannot read it, and no other site makes the browser send it.
            answer.set_cookie(self._cookie, key, httponly=True, samesite="strict", secure=request.url.scheme == "https")
            return answer

        return await self._work(check)

    async def _sign_out(self, request: Request) -> Response:
        await _form(request)
        self._asking.forget(request.cookies.get(self._cookie, ""))
        answer = JSONResponse({"said": "Signed out.", "goto": "/sign-in"})
        answer.delete_cookie(self._cookie)
        return answer

    async def _act(self, request: Request) -> Response:
        given = await _form(request)

        def work() -> Response:
            try:
                api = self._asking.of(self._shown(request))
                done = act(api.acting, request.path_params["what"], given)
                api.changed()
            except MillraceError as error:
                return _refusal(error)
            return JSONResponse(done)

        return await self._work(work)

    async def _asset(self, request: Request) -> Response:
        name = request.path_params["file"]
        if name not in self._assets:
            return Response(status_code=404)
        content, kind = self._assets[name]
        return Response(content, media_type=kind, headers={**_GUARDS, "Cache-Control": "no-cache"})

    def _html(self, template: str, values: Mapping[str, Any], *, status: int = 200) -> Response:
        return HTMLResponse(self._templates.render(template, values), status, dict(_GUARDS))

    def _overview(self, api: Asker, _: Request) -> Mapping[str, Any]:
        return {"overview": overview(api, self._clock.wall_ms())}

    def _deployment(self, api: Asker, request: Request) -> Mapping[str, Any]:
        name = request.path_params["name"]
        return {
            "shown": deployment_page(api, name, self._clock.wall_ms()),
            "lines": api.why(name),
            "letters": api.dead_letters(name),
        }


def _logs(api: Asker, request: Request) -> Mapping[str, Any]:
    slot = "{name}/{kind}/{number}".format(**request.path_params)
    return {"name": request.path_params["name"], "slot": slot, "lines": log_lines(api.logs(slot))}


def _document(api: Asker, request: Request) -> Mapping[str, Any]:
    name = request.path_params["name"]
    return {"name": name, "document": api.deployment(name)["document"]}


def _model(api: Asker, request: Request) -> Mapping[str, Any]:
    return {"model": api.model(request.path_params["name"], request.path_params["version"])}


def _history(api: Asker, request: Request) -> Mapping[str, Any]:
    wanted = {name: request.query_params.get(name, "").strip() for name in ("deployment", "who", "what")}
    found = api.history(*(text or None for text in wanted.values()))
    return {"entries": entries(found), "wanted": wanted, "chain": api.verification()}


async def _form(request: Request) -> Mapping[str, Any]:
    """What a script of ours sent. Pages of other sites cannot send JSON here: their browser would ask first."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _LONGEST:
            return {}
    is_json = request.headers.get("content-type", "").partition(";")[0] == "application/json"
    try:
        found = json.loads(body) if is_json else None
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {}


def _refusal(error: MillraceError) -> Response:
    return JSONResponse(
        {"error": error.message, "remedy": error.remedy}, 422 if isinstance(error, RequestError) else 503
    )


def _read_assets() -> Mapping[str, tuple[bytes, str]]:
    folder = files("millrace_launcher.ui") / "assets"
    return {
        found.name: (found.read_bytes(), _TYPES[found.name[found.name.rindex(".") :]]) for found in folder.iterdir()
    }
