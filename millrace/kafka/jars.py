"""The jars of Java programs, from their Maven coordinates to a class path, kept in a cache.

jgo resolves and downloads them: no Java, no Maven, no program on the path. One folder holds the jars of one list of
coordinates; it appears in the cache in one step, complete, or not at all, so that an interrupted download leaves
nothing to trip over. A lock file keeps two processes from downloading the same jars at once.
"""

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final, TypeAlias
from xml.etree.ElementTree import ParseError

import platformdirs

from millrace.core.errors import RequestError, TransientError
from millrace.process.locks import locked

if TYPE_CHECKING:
    from jgo.maven import Artifact, MavenContext

KAFKA_VERSION: Final = "4.3.1"

KAFKA: Final = (f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}", "org.slf4j:slf4j-simple:1.7.36")
"""The broker, and the smallest logger there is: without one a broker that cannot start would die without a word."""

_HTTP_TIMEOUT_SECS: Final = 30
_DOWNLOADS_AT_ONCE: Final = 6
_MANIFEST: Final = "manifest.json"


class Stage(StrEnum):
    """What a first start is busy with, in this order."""

    RESOLVING = "resolving"
    """Finding out which jars are needed. How many files that takes is not known in advance."""
    DOWNLOADING = "downloading"
    """Fetching jars; their number is known."""
    FORMATTING = "formatting"
    """Preparing the broker's data folder."""
    STARTING = "starting"
    """Waiting until the broker answers."""
    PREPARING = "preparing"
    """Making the next starts quicker, once; the broker runs already."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage is: `done` steps of `total`, which is None where it is not known."""

    stage: Stage
    done: int = 0
    total: int | None = None


OnProgress: TypeAlias = Callable[[Progress], None]
"""Called from any thread, one call at a time."""


def silent(progress: Progress) -> None:
    """Take no notice of progress."""


def cache_folder() -> Path:
    """The folder for what can be fetched again: `MILLRACE_CACHE`, or else the user's cache folder."""
    chosen = os.environ.get("MILLRACE_CACHE")
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("millrace")


def fetch(
    coordinates: Sequence[str] = KAFKA, *, cache: Path | None = None, on_progress: OnProgress = silent
) -> tuple[Path, ...]:
    """Return the jars of these coordinates and of everything they need at run time, downloading what is missing.

    Args:
        coordinates: Maven coordinates, `group:artifact:version`.
        cache: Where jars are kept; by default `cache_folder()`.
        on_progress: Told about the stages of a download; not called when the jars are there.

    Raises:
        TransientError: The Maven repository cannot be reached, or sent something that is not what was asked for.
        RequestError: The cache folder cannot be used.
    """
    shelf = (cache or cache_folder()) / "jars"
    folder = shelf / hashlib.sha256("\n".join(coordinates).encode()).hexdigest()[:16]
    try:
        if (jars := _complete(folder)) is not None:
            return jars
        shelf.mkdir(parents=True, exist_ok=True)
        with locked(folder.with_suffix(".lock")):
            # Another process may have been at it while this one waited for the lock.
            return _complete(folder) or _install(coordinates, folder, on_progress)
    except OSError as error:
        raise RequestError(
            f"cannot use the cache folder {shelf}: {error.strerror}",
            remedy="make it writable, or set MILLRACE_CACHE to another folder",
        ) from error


def _complete(folder: Path) -> tuple[Path, ...] | None:
    """The jars of a folder, in class path order, if every one is there in its full length."""
    try:
        sizes: dict[str, int] = json.loads((folder / _MANIFEST).read_bytes())
        whole = all((folder / name).stat().st_size == size for name, size in sizes.items())
    except FileNotFoundError:
        return None
    return tuple(folder / name for name in sizes) if whole else None


def _install(coordinates: Sequence[str], folder: Path, on_progress: OnProgress) -> tuple[Path, ...]:
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    with _explained(coordinates):
        downloaded = _download(coordinates, partial / "m2", on_progress)
    sizes: dict[str, int] = {}
    for name, jar in downloaded.items():
        if not zipfile.is_zipfile(jar):
            raise TransientError(f"{name} arrived damaged", remedy="try again; if a proxy is in between, look there")
        sizes[name] = jar.stat().st_size
        jar.rename(partial / name)
    shutil.rmtree(partial / "m2")
    (partial / _MANIFEST).write_text(json.dumps(sizes, indent=1))
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return tuple(folder / name for name in sizes)


def _download(coordinates: Sequence[str], repository: Path, on_progress: OnProgress) -> dict[str, Path]:
    """Download jars into a local Maven repository; returns them by the names they get on the shelf."""
    # Imported here: jgo and what it brings take a fifth of a second, and only a first start needs them.
    from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415

    steps = _Steps(on_progress)
    mirror = os.environ.get("MILLRACE_MAVEN_REPOSITORY")
    context = MavenContext(
        resolver=PythonResolver(progress_callback=steps.file),
        repo_cache=repository,
        remote_repos={"mirror": mirror.rstrip("/")} if mirror else None,
        timeout=_HTTP_TIMEOUT_SECS,
    )
    steps.begin(Stage.RESOLVING)
    artifacts = _resolve(context, coordinates)
    steps.begin(Stage.DOWNLOADING, total=len(artifacts))
    with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
        jars = list(pool.map(lambda artifact: artifact.resolve(), artifacts))
    return {f"{artifact.groupId}.{artifact.filename}": jar for artifact, jar in zip(artifacts, jars, strict=True)}


def _resolve(context: "MavenContext", coordinates: Sequence[str]) -> list["Artifact"]:
    """All artifacts of a run-time class path. jgo's environments would also fetch a JDK, to tell modules apart."""
    inputs, needed = context.resolver.resolve([context.create_dependency(c) for c in coordinates])
    dependencies = [*inputs, *(d for d in needed if d.scope in {"compile", "runtime"})]
    return list({d.artifact.key: d.artifact for d in dependencies}.values())


class _Steps:
    """Counts files for a progress callback. jgo tells when the download of a file begins."""

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self._lock = Lock()
        self._progress = Progress(Stage.RESOLVING)

    def begin(self, stage: Stage, total: int | None = None) -> None:
        self._report(Progress(stage, 0, total))

    @contextmanager
    def file(self, _name: str, _size: int) -> Iterator[Callable[[int], None]]:
        yield lambda _received: None
        with self._lock:
            now = self._progress
            self._report(Progress(now.stage, now.done + 1, now.total))

    def _report(self, progress: Progress) -> None:
        self._progress = progress
        self._on_progress(progress)


@contextmanager
def _explained(coordinates: Sequence[str]) -> Iterator[None]:
    """Turn what jgo and the network raise into one error that says what to do."""
    try:
        yield
    except (OSError, RuntimeError, ParseError) as error:
        # requests' errors are OSErrors without a number; jgo says RuntimeError when no repository has a file; a
        # proxy's page is no POM.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        cause = str(error).splitlines()[0][:200]
        raise TransientError(
            f"cannot fetch {' and '.join(coordinates)} from the Maven repository: {cause}",
            remedy="check the network and the proxy settings, or set MILLRACE_MAVEN_REPOSITORY to a mirror's URL",
        ) from error
