"""Subscriptions to predictions: one consumer for each topic that anybody follows, shared by all who do.

Everything here belongs to one event loop. What a subscriber gets is decided in `millrace_gateway.logic.recent`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Self

import structlog

from millrace.core.errors import MillraceError, RequestError, TransientError
from millrace.kafka.admin import Admin
from millrace.kafka.following import Follower, Place, find_place
from millrace.kafka.reading import Position, Start
from millrace.process.settings import KafkaSettings
from millrace.telemetry import streams as metrics
from millrace.telemetry.metrics import Instruments
from millrace_gateway.adapters.publishing import publish
from millrace_gateway.logic.errors import BusyError, NotFoundError
from millrace_gateway.logic.recent import Cursor, Event, OvertakenError, Recent
from millrace_gateway.logic.selection import Selection
from millrace_gateway.settings import Subscriptions

log = structlog.get_logger()

_READ_RECORDS: Final = 500
"""Records that are read, or sent to one subscriber, before others have their turn."""

_PATIENCE: Final = timedelta(seconds=15)
"""Longest wait of a subscriber for its subscription."""

_SWEEP: Final = timedelta(seconds=30)
"""How often feeds that nobody reads are closed."""

_CATCH_UP_BYTES: Final = 512 * 2**10
_RETRY: Final = timedelta(milliseconds=500)
_OUTGROWN: Final = "the topic has got more partitions"


@dataclass(frozen=True, slots=True)
class Portion:
    """What comes next for a subscriber.

    Attributes:
        events: In order; none when nothing came for the time of a heartbeat.
        id: The subscriber's place after them.
    """

    events: Sequence[Event]
    id: str


class Feed:
    """One topic as all its subscribers read it: the shared consumer, and the newest predictions.

    Attributes:
        recent: The newest predictions.
        subscribers: How many read here, or are about to.
    """

    def __init__(self, topic: str, follower: Follower, options: Subscriptions, instruments: Instruments) -> None:
        self.recent = Recent(follower.positions, max_records=options.held_records, max_bytes=options.held_bytes)
        self.subscribers = 0
        self._topic = topic
        self._follower = follower
        self._instruments = instruments
        self._news = asyncio.Event()
        self._failure: MillraceError | None = None
        self._task = asyncio.create_task(self._read_on(), name=f"feed-{topic}")

    @property
    def has_ended(self) -> bool:
        """Whether it reads no more."""
        return self._failure is not None

    async def wait(self, seconds: float) -> None:
        """Return when there is news, and after this time at the latest.

        Raises:
            MillraceError: The feed has ended, and why.
        """
        self.check()
        news = self._news
        try:
            async with asyncio.timeout(seconds):
                await news.wait()
        except TimeoutError:
            pass
        self.check()

    def check(self) -> None:
        """Raise why the feed has ended, if it has."""
        if self._failure is not None:
            raise self._failure

    async def close(self, reason: MillraceError) -> None:
        """End it; every subscriber is told the reason."""
        self._end(reason)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._follower.close()
        self._instruments.add(metrics.HELD, -self.recent.held_bytes)

    async def _read_on(self) -> None:
        while not self.has_ended:
            try:
                batch = await self._follower.read(_READ_RECORDS)
            except TransientError as error:
                log.warning("predictions cannot be read for now", topic=self._topic, reason=error.message)
                await asyncio.sleep(_RETRY.total_seconds())
                continue
            except MillraceError as error:
                log.error("predictions cannot be read", topic=self._topic, reason=error.message)
                self._end(error)
                return
            if self._follower.is_outgrown:
                self._end(TransientError(f"{self._topic!r}: {_OUTGROWN}", remedy="begin again at the last id"))
                return
            before = self.recent.held_bytes
            published = publish(batch)
            self.recent.add(published.predictions, self._follower.positions)
            self._instruments.add(metrics.HELD, self.recent.held_bytes - before)
            self._instruments.add(metrics.READ, len(published.predictions))
            self._instruments.add(metrics.INVALID, published.invalid)
            if len(batch):
                self._tell()

    def _end(self, reason: MillraceError) -> None:
        if self._failure is None:
            self._failure = reason
            self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


class Subscription:
    """One subscriber. `portion` again and again, then `close`; or `async with`.

    Attributes:
        deleted: By partition, how many offsets between the start and the oldest record are deleted already.
    """

    def __init__(
        self, hub: "Hub", feed: Feed, cursor: Cursor, deleted: Mapping[int, int], reader: Follower | None
    ) -> None:
        self.deleted = deleted
        self._hub = hub
        self._feed = feed
        self._cursor = cursor
        self._reader = reader

    @property
    def id(self) -> str:
        """The subscriber's place."""
        return self._cursor.id

    async def portion(self) -> Portion:
        """What comes next; waits for it, at most the time of a heartbeat.

        To be called only when there is room for it: while it is not, the subscriber is paused and holds nothing.

        Raises:
            OvertakenError: It was not called for so long that what comes next is no longer held.
            MillraceError: The topic cannot be read on.
        """
        clock = asyncio.get_running_loop()
        give_up = clock.time() + self._hub.options.heartbeat_secs
        while True:
            events = await self._next(max(give_up - clock.time(), 0.0))
            if events or clock.time() >= give_up:
                return Portion(events, self.id)
            await asyncio.sleep(0)  # a selection may leave out much: others have their turn

    async def close(self) -> None:
        """Give up the place. May be called twice."""
        if self._hub.forget(self):
            self._feed.subscribers -= 1
            await self._end_catch_up()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _next(self, seconds: float) -> Sequence[Event]:
        self._feed.check()
        recent = self._feed.recent
        if self._reader is None:
            if self._cursor.waits(recent):
                await self._feed.wait(seconds)
            return self._cursor.take(recent, _READ_RECORDS)
        batch = await self._reader.read(_READ_RECORDS, timedelta(seconds=min(seconds, 0.2)))
        events = self._cursor.pass_on(publish(batch).predictions, self._reader.positions)
        if self._cursor.join(recent):
            await self._end_catch_up()
        return events

    async def _end_catch_up(self) -> None:
        if self._reader is not None:
            reader, self._reader = self._reader, None
            self._hub.caught_up()
            await reader.close()


class Hub:
    """All feeds and subscriptions of a gateway, while inside `async with`.

    Args:
        kafka: The cluster.
        options: Bounds and times.
        instruments: Where it is counted.
    """

    def __init__(self, kafka: KafkaSettings, options: Subscriptions, instruments: Instruments) -> None:
        self.options: Final = options
        self._kafka = kafka
        self._admin = Admin(kafka)
        self._instruments = instruments
        self._feeds: dict[str, Feed] = {}
        self._subscriptions: set[Subscription] = set()
        self._pending = 0
        self._catching_up = 0
        self._opening = asyncio.Lock()
        self._closing: TransientError | None = None

    async def subscribe(self, topic: str, start: Start, selection: Selection) -> Subscription:
        """A new subscriber of a predictions topic.

        Raises:
            NotFoundError: There is no such topic.
            RequestError: The start does not exist there.
            BusyError: There are as many subscribers as there may be, or as many that read the past.
            TransientError: No broker answers, or the gateway is stopping.
            FatalError: The broker refuses this client.
        """
        if self._closing is not None:
            raise self._closing
        if len(self._subscriptions) + self._pending >= self.options.max_subscribers:
            raise BusyError(
                f"this gateway has {self.options.max_subscribers} subscribers, and may have no more",
                remedy="subscribe at another gateway, or raise MILLRACE_GATEWAY__SUBSCRIPTIONS__MAX_SUBSCRIBERS",
            )
        self._pending += 1
        feed: Feed | None = None
        try:
            async with asyncio.timeout(_PATIENCE.total_seconds()):
                feed = await self._feed(topic)
                return await self._join(feed, topic, start, selection)
        except BaseException as error:
            if feed is not None:
                feed.subscribers -= 1
            if isinstance(error, TimeoutError):
                raise TransientError(f"{topic!r} could not be followed in time", remedy="try again") from None
            raise
        finally:
            self._pending -= 1

    def forget(self, subscription: Subscription) -> bool:
        """Leave a subscription out; whether it was there."""
        known = subscription in self._subscriptions
        self._subscriptions.discard(subscription)
        return known

    def caught_up(self) -> None:
        """One subscriber less reads the past."""
        self._catching_up -= 1
        self._instruments.set(metrics.CATCHING_UP, self._catching_up)

    async def close(self) -> None:
        """End every subscription; whoever subscribes from now on is refused. May be called twice."""
        self._closing = TransientError("this gateway is stopping", remedy="begin again at the last id")
        feeds, self._feeds = list(self._feeds.values()), {}
        for feed in feeds:
            await feed.close(self._closing)

    async def __aenter__(self) -> Self:
        self._sweeper = asyncio.create_task(self._sweep(), name="feeds-sweeper")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._sweeper.cancel()
        await asyncio.gather(self._sweeper, return_exceptions=True)
        await self.close()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP.total_seconds())
            await self._release_unused()

    async def _release_unused(self) -> None:
        for topic, feed in list(self._feeds.items()):
            if feed.has_ended or not feed.subscribers:
                del self._feeds[topic]
                await feed.close(TransientError(f"nobody read {topic!r}"))

    async def _feed(self, topic: str) -> Feed:
        async with self._opening:
            feed = self._feeds.get(topic)
            if feed is None or feed.has_ended:
                await self._make_room(topic)
                place = await self._place(topic, Position.LATEST)
                follower = await Follower.open(self._kafka, topic, place.positions)
                feed = self._feeds[topic] = Feed(topic, follower, self.options, self._instruments)
            feed.subscribers += 1
            return feed

    async def _make_room(self, topic: str) -> None:
        """Let go of a feed of the topic that has ended and, where there are too many, of those that nobody reads."""
        if (ended := self._feeds.pop(topic, None)) is not None:
            await ended.close(TransientError("the feed has ended"))
        if len(self._feeds) >= self.options.max_topics:
            await self._release_unused()
        if len(self._feeds) >= self.options.max_topics:
            raise BusyError(f"this gateway follows {self.options.max_topics} topics, and may follow no more at a time")

    async def _join(self, feed: Feed, topic: str, start: Start, selection: Selection) -> Subscription:
        # What all read begins where nothing older is unread, so `latest` needs no question to the broker.
        place = Place(feed.recent.positions) if start is Position.LATEST else await self._place(topic, start)
        cursor = Cursor(place.positions, selection)
        reader = None if cursor.join(feed.recent) else await self._catch_up(topic, place)
        subscription = Subscription(self, feed, cursor, place.deleted, reader)
        self._subscriptions.add(subscription)
        return subscription

    async def _catch_up(self, topic: str, place: Place) -> Follower:
        if self._catching_up >= self.options.max_catching_up:
            raise BusyError(
                f"{self._catching_up} subscribers read the past, and no more may at a time",
                remedy="try again in a moment, or begin at latest",
            )
        self._catching_up += 1
        self._instruments.set(metrics.CATCHING_UP, self._catching_up)
        try:
            return await Follower.open(self._kafka, topic, place.positions, fetch_bytes=_CATCH_UP_BYTES)
        except BaseException:
            self.caught_up()
            raise

    async def _place(self, topic: str, start: Start) -> Place:
        try:
            return await asyncio.to_thread(find_place, self._kafka, self._admin, topic, start)
        except RequestError as error:
            if start is Position.LATEST:
                raise NotFoundError(error.message, remedy=error.remedy) from error
            raise


def drop_reason(error: MillraceError) -> metrics.DropReason:
    """Why a subscription ended with this error."""
    return metrics.DropReason.OVERTAKEN if isinstance(error, OvertakenError) else metrics.DropReason.FAILED
