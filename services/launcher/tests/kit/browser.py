"""Debian's Chromium without a window, driven over its own DevTools protocol: no driver program and no download."""

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from websockets.sync.client import ClientConnection, connect

from millrace.testing.waiting import eventually

PATIENCE: Final = timedelta(seconds=90)
LAPTOP: Final = (1280, 860)
PHONE: Final = (390, 844)

_OPTIONS: Final = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
    # Every name and address but this machine's does not exist: what works here works without the internet.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


@dataclass
class Tab:
    """A page in the browser.

    Attributes:
        socket: The connection to it.
        session: Its session.
        complaints: Errors of the console, of scripts and of the network, oldest first.
    """

    socket: ClientConnection
    session: str
    complaints: list[str] = field(default_factory=list)
    _number: int = 0

    def open(self, url: str) -> None:
        """Go to an address, and wait until its content is there."""
        self.call("Page.navigate", url=url)
        eventually(
            lambda: self.value("document.readyState") == "complete" and self.value("location.href") != "about:blank",
            within=PATIENCE,
            what=f"the page {url}",
        )

    def value(self, script: str) -> Any:  # noqa: ANN401 -- whatever the script says
        """What a script evaluates to; a promise is waited for."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise AssertionError(f"{script}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def text(self, selector: str = "main") -> str:
        """The text of the first element that fits; empty without one."""
        return str(self.value(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def await_text(self, said: str, selector: str = "main") -> None:
        """Wait until an element says something."""

        def is_there() -> bool:
            with suppress(AssertionError):
                return said in self.text(selector)
            return False  # The page is on its way to another one.

        eventually(is_there, within=PATIENCE, what=f"{said!r} in {selector}")

    def click(self, selector: str) -> None:
        """Click the first element that fits."""
        self.value(f"document.querySelector({json.dumps(selector)}).click()")

    def press(self, key: str, code: int) -> None:
        """Press a key."""
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    def resize(self, width: int, height: int) -> None:
        """Be a screen of this size."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def scheme(self, name: str) -> None:
        """Be set to `light` or `dark`."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def screenshot(self, file: Path) -> None:
        """Take a picture of the whole page."""
        height = int(self.value("document.documentElement.scrollHeight"))
        width = int(self.value("innerWidth"))
        clip = {"x": 0, "y": 0, "width": width, "height": min(height, 4000), "scale": 1}
        found = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        file.write_bytes(base64.b64decode(found["data"]))

    def call(self, method: str, **parameters: Any) -> Any:  # noqa: ANN401 -- the protocol's
        """Call a method of the protocol for this page, and note what the page complains of meanwhile."""
        self._number += 1
        self.socket.send(
            json.dumps({"id": self._number, "sessionId": self.session, "method": method, "params": parameters})
        )
        give_up = time.monotonic() + PATIENCE.total_seconds()
        while time.monotonic() < give_up:
            said = json.loads(self.socket.recv(timeout=PATIENCE.total_seconds()))
            self._note(said)
            if said.get("id") == self._number and said.get("sessionId") == self.session:
                if "error" in said:
                    raise AssertionError(f"{method}: {said['error']}")
                return said["result"]
        raise AssertionError(f"{method} was not answered")

    def _note(self, said: dict[str, Any]) -> None:
        match said:
            case {"method": "Runtime.exceptionThrown", "params": {"exceptionDetails": details}}:
                self.complaints.append(str(details.get("exception", details)))
            case {"method": "Log.entryAdded", "params": {"entry": {"level": "error", "text": text}}}:
                self.complaints.append(text)
            case {"method": "Runtime.consoleAPICalled", "params": {"type": "error", "args": args}}:
                self.complaints.append(str(args))


@dataclass
class Browser:
    """A running Chromium."""

    address: str

    @contextmanager
    def tab(self, *, size: tuple[int, int] = LAPTOP) -> Iterator[Tab]:
        """A page of its own, with cookies of its own."""
        with connect(self.address, max_size=None, proxy=None) as socket:
            context = self._call(socket, 1, "Target.createBrowserContext")["browserContextId"]
            target = self._call(socket, 2, "Target.createTarget", url="about:blank", browserContextId=context)
            session = self._call(socket, 3, "Target.attachToTarget", targetId=target["targetId"], flatten=True)
            tab = Tab(socket, session["sessionId"], _number=10)
            for room in ("Page", "Runtime", "Log"):
                tab.call(f"{room}.enable")
            tab.resize(*size)
            try:
                yield tab
            finally:
                self._call(socket, 4, "Target.disposeBrowserContext", browserContextId=context)

    def _call(self, socket: ClientConnection, number: int, method: str, **parameters: Any) -> Any:  # noqa: ANN401
        socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            said = json.loads(socket.recv(timeout=PATIENCE.total_seconds()))
            if said.get("id") == number and "sessionId" not in said:
                if "error" in said:
                    raise AssertionError(f"{method}: {said['error']}")
                return said["result"]


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """A Chromium that ends with the block."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.fail("there is no Chromium on the path: install the package `chromium`")
    folder.mkdir(parents=True, exist_ok=True)
    port = folder / "profile" / "DevToolsActivePort"
    port.unlink(missing_ok=True)  # Of a browser before this one.
    with (
        (folder / "browser.log").open("wb") as log,
        subprocess.Popen([program, *_OPTIONS, f"--user-data-dir={folder}/profile"], stderr=log, stdout=log) as process,
    ):
        try:
            eventually(
                lambda: port.exists() and len(port.read_text().splitlines()) == 2,
                within=PATIENCE,
                what=f"a browser (see {folder}/browser.log)",
            )
            number, path = port.read_text().splitlines()
            yield Browser(f"ws://127.0.0.1:{number}{path}")
        finally:
            process.terminate()
            process.wait(20)
