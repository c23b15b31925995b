"""Fetching jars, from a Maven repository that this test serves."""

import io
import zipfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from millrace.core.errors import RequestError, TransientError
from millrace.kafka.jars import Progress, Stage, cache_folder, fetch
from millrace.testing.running import serving

APP = "org.mill:app:1.0"


@dataclass(frozen=True, slots=True)
class Repository:
    """A Maven repository in a folder, served on a port."""

    folder: Path
    url: str
    asked: list[str] = field(default_factory=list)

    def add(self, name: str, needs: Mapping[str, str] | None = None, *, jar: bytes | None = None) -> None:
        """Add `org.mill:<name>:1.0`, which needs others in the given scopes."""
        at = self.folder / "org" / "mill" / name / "1.0"
        at.mkdir(parents=True)
        dependencies = "".join(
            f"<dependency>{coordinates(other)}<scope>{scope}</scope></dependency>"
            for other, scope in (needs or {}).items()
        )
        (at / f"{name}-1.0.pom").write_text(
            f"<project><modelVersion>4.0.0</modelVersion>{coordinates(name)}"
            f"<dependencies>{dependencies}</dependencies></project>"
        )
        (at / f"{name}-1.0.jar").write_bytes(jar if jar is not None else jar_with(name))


def coordinates(name: str) -> str:
    return f"<groupId>org.mill</groupId><artifactId>{name}</artifactId><version>1.0</version>"


def jar_with(name: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as jar:
        jar.writestr("name", name)
    return content.getvalue()


class Handler(SimpleHTTPRequestHandler):
    def __init__(self, *arguments: object, asked: list[str], directory: str) -> None:
        self.asked = asked
        super().__init__(*arguments, directory=directory)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    folder = tmp_path / "repository"
    folder.mkdir()
    asked: list[str] = []
    handler = partial(Handler, asked=asked, directory=str(folder))
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("MILLRACE_MAVEN_REPOSITORY", url)
        yield Repository(folder, url, asked)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def names(jars: tuple[Path, ...]) -> list[str]:
    return [jar.name for jar in jars]


def test_fetches_what_is_needed_at_run_time(repository: Repository, cache: Path) -> None:
    repository.add("app", {"direct": "compile", "driver": "runtime", "check": "test", "given": "provided"})
    repository.add("direct", {"deep": "compile"})
    for name in ("driver", "check", "given", "deep"):
        repository.add(name)
    found = names(fetch([APP], cache=cache))
    assert found[0] == "org.mill.app-1.0.jar"
    assert sorted(found[1:]) == [f"org.mill.{name}-1.0.jar" for name in ("deep", "direct", "driver")]


def test_the_second_time_nothing_is_asked(repository: Repository, cache: Path) -> None:
    repository.add("app")
    first = fetch([APP], cache=cache)
    repository.asked.clear()
    assert fetch([APP], cache=cache, on_progress=lambda _: pytest.fail("nothing is to be done")) == first
    assert repository.asked == []


def test_tells_its_progress(repository: Repository, cache: Path) -> None:
    repository.add("app", {"direct": "compile"})
    repository.add("direct")
    told: list[Progress] = []
    fetch([APP], cache=cache, on_progress=told.append)
    assert told[0] == Progress(Stage.RESOLVING, 0, None)
    assert [p.done for p in told if p.stage is Stage.DOWNLOADING] == [0, 1, 2]
    assert {p.total for p in told if p.stage is Stage.DOWNLOADING} == {2}


def test_at_once_it_is_fetched_once(repository: Repository, cache: Path) -> None:
    repository.add("app")
    with ThreadPoolExecutor(4) as pool:
        results = set(pool.map(lambda _: fetch([APP], cache=cache), range(4)))
    assert len(results) == 1
    assert repository.asked.count("/org/mill/app/1.0/app-1.0.jar") == 1


def test_a_jar_that_went_missing_is_fetched_again(repository: Repository, cache: Path) -> None:
    repository.add("app")
    [jar] = fetch([APP], cache=cache)
    jar.unlink()
    assert fetch([APP], cache=cache) == (jar,)
    assert jar.exists()


def test_what_an_interrupted_download_left_is_not_trusted(repository: Repository, cache: Path) -> None:
    repository.add("app", {"late": "compile"})
    with pytest.raises(TransientError):
        fetch([APP], cache=cache)
    [partial_jar] = [*cache.rglob("app-1.0.pom")]
    partial_jar.write_text("<proj")
    repository.add("late")
    assert len(fetch([APP], cache=cache)) == 2


def test_a_damaged_jar_is_refused(repository: Repository, cache: Path) -> None:
    repository.add("app", jar=b"<html>log in first</html>")
    with pytest.raises(TransientError, match=r"app-1\.0\.jar arrived damaged"):
        fetch([APP], cache=cache)


def test_a_page_instead_of_a_pom_is_refused(repository: Repository, cache: Path) -> None:
    repository.add("app")
    (repository.folder / "org/mill/app/1.0/app-1.0.pom").write_text("<html><br>log in first</html>")
    with pytest.raises(TransientError, match=r"cannot fetch org\.mill:app:1\.0"):
        fetch([APP], cache=cache)


def test_no_repository_is_said_with_the_remedy(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_MAVEN_REPOSITORY", "http://127.0.0.1:9")
    with pytest.raises(TransientError, match=r"cannot fetch .*MILLRACE_MAVEN_REPOSITORY"):
        fetch([APP], cache=cache)


def test_needs_no_program_on_the_path(repository: Repository, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    repository.add("app")
    assert len(fetch([APP], cache=cache)) == 1


def test_a_cache_that_cannot_be_is_said(cache: Path) -> None:
    cache.write_text("a file")
    with pytest.raises(RequestError, match="MILLRACE_CACHE"):
        fetch([APP], cache=cache)


def test_the_cache_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MILLRACE_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
