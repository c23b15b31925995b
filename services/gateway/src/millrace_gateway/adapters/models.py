"""The models of a gateway's deployments: which one a name means now, loaded, warm, followed where it is an alias."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, NewType

import structlog

from millrace.core.cost import backoff
from millrace.core.errors import MillraceError, RequestError, TransientError
from millrace.core.rollout import RolloutMode
from millrace.process.deployment import Deployment
from millrace.serving.catalogue import Reference, Table, VersionEntry, names_version, resolve, versions
from millrace.serving.registry import Registry
from millrace_gateway.adapters.served import Compile, Opened, Served
from millrace_gateway.logic.errors import NotFoundError
from millrace_gateway.logic.statistics import ModelStatistics

log = structlog.get_logger()

_FIRST_RETRY: Final = timedelta(milliseconds=500)
_LONGEST_RETRY: Final = timedelta(seconds=30)

Place = NewType("Place", tuple[str, str])
"""A deployment's name, and a reference to a version of its model."""


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
    version is loaded and warmed while the old one answers, and then takes its place. Where the deployment has a
    rollout, its challenger is tried on those who name no version.

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
        self._refused: set[tuple[str, tuple[int, str], tuple[int, str]]] = set()
        self._held: list[Opened] = []
        self._loading = asyncio.Lock()
        self._news = asyncio.Event()
        self._draining: set[Served] = set()
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
            async with self._changing():
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
        async with self._changing():
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
        loaded = {(each.entry.name, each.entry.version) for served in self._at.values() for each in served.members}
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

    @asynccontextmanager
    async def _changing(self) -> AsyncIterator[None]:
        """One change at a time; what it opened and put nowhere is released at its end."""
        async with self._loading:
            try:
                yield
            finally:
                held, self._held = self._held, []
                self._release(held)

    async def _load(self, place: Place, deployment: Deployment, entry: VersionEntry) -> None:
        """Let a version stand at a place, and with it the one that is tried beside it.

        Raises:
            RequestError: The version does not fit the deployment.
            TransientError: It cannot be loaded now; or the challenger cannot, and the version stands alone.
        """
        champion = await self._obtain(deployment, entry)
        try:
            challenger = await self._challenger(place, deployment, champion)
        except TransientError:
            self._stand(place, deployment, champion, None)
            raise
        self._stand(place, deployment, champion, challenger)

    async def _challenger(self, place: Place, deployment: Deployment, champion: Opened) -> Opened | None:
        """The version that is tried at this place; None without a rollout, or for one that does not fit."""
        is_on = place in self._declared and deployment.rollout.mode is not RolloutMode.NONE
        if not is_on or not names_version(self._table, deployment.challenger):
            return None
        entry = resolve(self._table, deployment.challenger)
        pair = deployment.deployment, champion.identity, (entry.version, entry.digest)
        if entry.version == champion.entry.version or pair in self._refused:
            return None
        try:
            challenger = await self._obtain(deployment, entry)
            self._compiler.check_pair(champion, challenger)
        except TransientError:
            raise
        except MillraceError as error:
            self._refused.add(pair)
            log.error("challenger refused; the champion answers alone", reason=error.message, remedy=error.remedy)
            return None
        return challenger

    async def _obtain(self, deployment: Deployment, entry: VersionEntry) -> Opened:
        """The version in memory, loaded unless it is there for the deployment already."""
        for (name, _), served in self._at.items():
            for member in served.members:
                if (name, *member.identity) == (deployment.deployment, entry.version, entry.digest):
                    self._held.append(member)
                    return member
        loop = asyncio.get_running_loop()
        opened = await loop.run_in_executor(self._threads, self._compiler.open, self._table, deployment, entry)
        self._held.append(opened)
        log.info("model loaded", name=deployment.deployment, model=entry.name, version=entry.version)
        return opened

    def _stand(self, place: Place, deployment: Deployment, champion: Opened, challenger: Opened | None) -> None:
        """From now on these versions answer at this place; who asked before is answered by those before."""
        before = self._at.get(place)
        if before is not None and (before.champion, before.challenger) == (champion, challenger):
            return
        self._at[place] = self._shared(champion, challenger) or self._compiler.put_to_work(
            deployment,
            champion,
            challenger,
            before.statistics if before is not None and before.champion is champion else ModelStatistics(),
        )
        log.info(
            "version answers",
            name=place[0],
            version=champion.entry.version,
            digest=champion.entry.digest,
            challenger=challenger and challenger.entry.version,
        )
        if before is not None:
            self._retire_unused(before)

    def _shared(self, champion: Opened, challenger: Opened | None) -> Served | None:
        """The same versions at work at another place."""
        for served in self._at.values():
            if (served.champion, served.challenger) == (champion, challenger):
                return served
        return None

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
        self._draining.add(served)

        async def retire() -> None:
            await served.batcher.drained()
            self._draining.discard(served)
            self._release(served.members)

        task = asyncio.create_task(retire(), name=f"retire {served.entry.key}")
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    def _release(self, members: Iterable[Opened]) -> None:
        """Let the memory of those go that are nowhere at work."""
        needed = {each for served in (*self._at.values(), *self._draining) for each in served.members}
        for member in {*members} - needed - {*self._held}:
            member.model.close()

    def _changed(self, table: Table) -> None:
        self._table = table
        self._news.set()

    async def _follow(self) -> None:
        """Let every place have the versions that its references mean now; again after transient failures."""
        attempt = 0
        while True:
            if not attempt:
                await self._news.wait()
            self._news.clear()
            hindered = [place for place in list(self._at) if not await self._has_taken_over(place)]
            if not hindered:
                attempt = 0
                continue
            attempt += 1
            await asyncio.sleep(backoff(attempt, first=_FIRST_RETRY, longest=_LONGEST_RETRY).total_seconds())

    async def _has_taken_over(self, place: Place) -> bool:
        """Let a place have what its reference means now. False where trying again may help."""
        try:
            async with self._changing():
                if place in self._at:
                    await self._load(place, self._deployments[place[0]], resolve(self._table, place[1]))
        except TransientError as error:
            log.warning("new model version not loaded yet", reason=error.message)
            return False
        except MillraceError as error:
            log.error("new model version refused; the old one goes on", reason=error.message, remedy=error.remedy)
        return True


def _declared(deployment: Deployment) -> Place:
    return Place((deployment.deployment, str(Reference.parse(deployment.model))))
