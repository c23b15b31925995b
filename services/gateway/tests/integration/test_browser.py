"""A browser's own EventSource, in Chromium: it follows, and comes back by itself without loss."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from gateway_stage import GatewayStage
from prediction_topic import PredictionTopic

from millrace.testing.broker import Broker
from millrace.testing.waiting import eventually

LONG = timedelta(seconds=40)

PAGE = """<!doctype html><script>
const source = new EventSource("%s");
source.onmessage = (event) => fetch("/heard", {method: "POST", body: JSON.parse(event.data).event_id});
</script>"""


class Heard(ThreadingHTTPServer):
    """Serves the page, and is told by it what it heard."""

    daemon_threads = True

    def __init__(self, address: str) -> None:
        self.numbers: list[int] = []
        self.page = (PAGE % address).encode()
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: Heard

    def do_GET(self) -> None:
        self._answer(self.server.page)

    def do_POST(self) -> None:
        self.server.numbers.append(int(self.rfile.read(int(self.headers["Content-Length"]))))
        self._answer(b"")

    def _answer(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Silence."""


@contextmanager
def page_in_browser(address: str, folder: Path) -> Iterator[Heard]:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.fail("there is no Chromium on the path: install the package `chromium`")
    with Heard(address) as heard:
        Thread(target=heard.serve_forever, daemon=True).start()
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        url = f"http://127.0.0.1:{heard.server_port}/"
        with (
            (folder / "browser.log").open("wb") as said,
            subprocess.Popen([browser, *options, f"--user-data-dir={folder}/browser", url], stderr=said) as process,
        ):
            try:
                yield heard
            finally:
                process.terminate()
                process.wait(20)
                heard.shutdown()


def test_a_page_follows_and_comes_back_by_itself(broker: Broker, stage: GatewayStage, tmp_path: Path) -> None:
    topic = PredictionTopic(broker)
    options = stage.options(subscriptions={"origins": ["*"]})
    with page_in_browser(f"{stage.url}{topic.path}?start=earliest", tmp_path) as heard:
        with stage.running(options=options):
            written = topic.write(20)
            eventually(lambda: len(heard.numbers) >= 20, within=LONG, what="a page that heard 20 predictions")
        written += topic.write(20)  # while nobody is there
        with stage.running(options=options):
            written += topic.write(20)
            eventually(lambda: len(heard.numbers) >= 60, within=LONG, what="a page that heard all 60")
    assert sorted(heard.numbers) == written
