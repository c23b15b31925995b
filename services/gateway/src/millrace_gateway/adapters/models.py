"""The models of a gateway's deployments: which one a name means now, loaded, warm, followed where it is an alias."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, NewType, Protocol

import structlog

from millrace.core.batching import Costs
from millrace.core.cost import backoff
from millrace.core.errors import MillraceError, RequestError, TransientError
from millrace.process.deployment import Deployment
from millrace.serving.catalogue import Reference, Table, VersionEntry, resolve, versions
from millrace.serving.loading import LoadedModel
from millrace.serving.registry import Registry
from millrace_gateway.adapters.batching import MicroBatcher
from millrace_gateway.adapters.pages import Pages
from millrace_gateway.logic.errors import NotFoundError
from millrace_gateway.logic.statistics import ModelStatistics

log = structlog.get_logger()

_FIRST_RETRY: Final = timedelta(milliseconds=500)
_LONGEST_RETRY: Final = timedelta(seconds=30)

Place = NewType("Place", tuple[str, str])
"""A deployment's name, and a reference to a version of its model."""


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """One model version at work for one deployment."""

    deployment: Deployment
    entry: VersionEntry
    model: LoadedModel
    batcher: MicroBatcher
    statistics: ModelStatistics


@dataclass(frozen=True, slots=True)
class Opened:
    """One model version in memory, and what it needs to be put to work."""

    entry: VersionEntry
    model: LoadedModel
    costs: Costs
    pages: Pages


class Compile(Protocol):
    """Opens models and puts them to work."""

    def open(self, table: Table, deployment: Deployment, entry: VersionEntry) -> Opened:
        """Fetch, load and warm a version. Blocks; called on a thread.

        Raises:
            RequestError: It does not fit the deployment.
            TransientError: The blob store or a schema registry is away.
        """
        ...

    def put_to_work(self, deployment: Deployment, opened: Opened) -> Served:
        """Let an opened version answer. Called on the event loop."""
        ...


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One model version that exists, and whether it is loaded."""

    name: str
    version: str
    is_ready: bool

    @property
    def state(self) -> str:
        """As the protocol says it."""
        return "READY" if self.is_ready else "UNAVAILABLE"

    @property
    def reason(self) -> str:
        """Why it is not ready."""
        return "" if self.is_ready else "not loaded"


class Repository:
    """Serves models by name. For one event loop; loading happens on `threads`.

    A name is a deployment's, which means the model that it declares; or a model's (the same), or a model's with an
    alias. With a version it means that one. A reference that is an alias is followed: when the alias moves, the new
    version is loaded and warmed while the old one answers, and then takes its place.

    Args:
        registry: Where models are; outlives this object.
        deployments: Whose models are served.
        compiler: Opens models and puts them to work.
        threads: Where loading happens.
        bound: Most versions that are loaded beside those that deployments declare.
    """

    def __init__(
        self,
        registry: Registry,
        deployments: Sequence[Deployment],
        *,
        compiler: Compile,
        threads: Executor,
        bound: int,
    ) -> None:
        self._registry = registry
        self._deployments: Mapping[str, Deployment] = {each.deployment: each for each in deployments}
        self._declared = {_declared(each): each for each in deployments}
        self._compiler = compiler
        self._threads = threads
        self._bound = bound
        self._table: Table = {}
        self._names: dict[tuple[str, str], Place] = {}
        self._at: dict[Place, Served] = {}
        self._unloaded: set[Place] = set()
        self._loading = asyncio.Lock()
        self._news = asyncio.Event()
        self._retiring: set[asyncio.Task[None]] = set()
        self._follower: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load what the deployments declare, and follow it from now on.

        Raises:
            RequestError: There is no such model, or it does not fit its deployment.
            TransientError: The broker or the blob store is away.
        """
        loop = asyncio.get_running_loop()
        self._table = await loop.run_in_executor(self._threads, self._registry.table)
        for place, deployment in self._declared.items():
            await self._load(place, deployment, resolve(self._table, place[1]))

        def heard(table: Table) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody wants to know any more
                loop.call_soon_threadsafe(self._changed, table)

        await loop.run_in_executor(self._threads, self._registry.follow, heard)
        # What changed while the models were being loaded.
        self._changed(await loop.run_in_executor(self._threads, self._registry.table))
        self._follower = asyncio.create_task(self._follow(), name="follow models")

    def serving(self, name: str, version: str) -> Served | None:
        """What a name means, where that is loaded: the quick way."""
        place = self._names.get((name, version))
        return None if place is None else self._at.get(place)

    async def find(self, name: str, version: str) -> Served:
        """What a name means, loaded now if need be.

        Raises:
            NotFoundError: There is no such model, alias or version here, or it was unloaded.
        """
        if (served := self.serving(name, version)) is not None:
            return served
        place, deployment = self._place(name, version)
        if place in self._unloaded:
            raise NotFoundError(
                f"{place[1]} was unloaded", remedy="load it again: POST /v2/repository/models/NAME/load"
            )
        entry = self._resolve(place)
        async with self._loading:
            if place not in self._at:
                await self._load(place, deployment, entry)
                self._shrink(place)
        self._names[name, version] = place
        return self._at[place]

    async def load(self, name: str, version: str = "") -> Served:
        """Load what a name means, even if it was unloaded; raises as `find`."""
        place, _ = self._place(name, version)
        self._unloaded.discard(place)
        return await self.find(name, version)

    def unload(self, name: str, version: str = "") -> None:
        """Answer for this name no more, until it is loaded again. What has been asked is answered.

        Raises:
            NotFoundError: There is no such model, alias or version here.
        """
        place, _ = self._place(name, version)
        self._resolve(place)
        self._unloaded.add(place)
        self._leave(place)

    def index(self) -> list[IndexEntry]:
        """Every version of the served deployments' models."""
        names = sorted({Reference.parse(each.model).name for each in self._deployments.values()})
        loaded = {(served.entry.name, served.entry.version) for served in self._at.values()}
        return [
            IndexEntry(entry.name, str(entry.version), (entry.name, entry.version) in loaded)
            for name in names
            for entry in versions(self._table, name)
        ]

    def all_served(self) -> list[Served]:
        """Every version that is loaded."""
        return list(dict.fromkeys(self._at.values()))

    def version_numbers(self, served: Served) -> list[str]:
        """Every version of the same model."""
        return [str(entry.version) for entry in versions(self._table, served.entry.name)]

    async def close(self) -> None:
        """Answer what has been asked, and release the models."""
        if self._follower is not None:
            self._follower.cancel()
        for place in list(self._at):
            self._leave(place)
        await asyncio.gather(*self._retiring)

    def _place(self, name: str, version: str) -> tuple[Place, Deployment]:
        deployment, alias = self._deployment(name)
        declared = Reference.parse(deployment.model)
        if version:
            if not version.isdecimal() or not version.isascii() or len(version) > 9 or not int(version) or alias:
                raise NotFoundError(f"{name!r} has no version {version[:32]!r}", remedy="a version is a number from 1")
            return Place((deployment.deployment, f"{declared.name}/{int(version)}")), deployment
        reference = Reference(declared.name, alias) if alias else declared
        return Place((deployment.deployment, str(reference))), deployment

    def _deployment(self, name: str) -> tuple[Deployment, str | None]:
        """The deployment that answers for a name, and the alias in it."""
        if name in self._deployments:
            return self._deployments[name], None
        base, _, alias = name.partition("@")
        for deployment in self._deployments.values():
            if Reference.parse(deployment.model).name == base:
                return deployment, alias or None
        raise NotFoundError(
            f"there is no model {name[:64]!r} here",
            remedy=f"deployments that are served: {', '.join(self._deployments)}",
        )

    def _resolve(self, place: Place) -> VersionEntry:
        try:
            return resolve(self._table, place[1])
        except RequestError as error:
            raise NotFoundError(error.message, remedy=error.remedy) from None

    async def _load(self, place: Place, deployment: Deployment, entry: VersionEntry) -> None:
        """Let a version stand at a place, loaded unless another place of the deployment has it."""
        for (name, _), served in self._at.items():
            if (name, served.entry.version, served.entry.digest) == (
                deployment.deployment,
                entry.version,
                entry.digest,
            ):
                self._at[place] = served
                return
        loop = asyncio.get_running_loop()
        opened = await loop.run_in_executor(self._threads, self._compiler.open, self._table, deployment, entry)
        served = self._compiler.put_to_work(deployment, opened)
        before = self._at.get(place)
        self._at[place] = served
        log.info("model loaded", name=place[0], model=entry.name, version=entry.version, digest=entry.digest)
        if before is not None:
            self._retire_unused(before)

    def _shrink(self, newest: Place) -> None:
        """Let go of the version that was loaded on demand the longest ago, where there are too many."""
        extra = [place for place in self._at if place not in self._declared and place != newest]
        if len(extra) >= self._bound:
            self._leave(extra[0])

    def _leave(self, place: Place) -> None:
        served = self._at.pop(place, None)
        self._names = {name: at for name, at in self._names.items() if at != place}
        if served is not None:
            self._retire_unused(served)

    def _retire_unused(self, served: Served) -> None:
        if served in self._at.values():
            return

        async def retire() -> None:
            await served.batcher.drained()
            served.model.close()

        task = asyncio.create_task(retire(), name=f"retire {served.entry.key}")
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    def _changed(self, table: Table) -> None:
        self._table = table
        self._news.set()

    async def _follow(self) -> None:
        """Let every place have the version that its reference means now; again after transient failures."""
        attempt = 0
        while True:
            if not attempt:
                await self._news.wait()
            self._news.clear()
            try:
                for place in list(self._at):
                    await self._take_over(place)
                attempt = 0
            except TransientError as error:
                attempt += 1
                log.warning("new model version not loaded yet", reason=error.message, attempt=attempt)
                await asyncio.sleep(backoff(attempt, first=_FIRST_RETRY, longest=_LONGEST_RETRY).total_seconds())
            except MillraceError as error:
                log.error("new model version refused; the old one goes on", reason=error.message, remedy=error.remedy)

    async def _take_over(self, place: Place) -> None:
        entry = resolve(self._table, place[1])
        async with self._loading:
            served = self._at.get(place)
            if served is not None and (served.entry.version, served.entry.digest) != (entry.version, entry.digest):
                await self._load(place, self._deployments[place[0]], entry)


def _declared(deployment: Deployment) -> Place:
    return Place((deployment.deployment, str(Reference.parse(deployment.model))))
