"""The Redis store: one server, a Cluster, or the master that Sentinel names.

A conversation is one hash, so that it expires and moves as a whole. For the segment with the number `n`,
its fields are: `s:<session id>`, which gives `n`; `n:metadata` and so on, its header; `n:counters`, its
totals; `n:<number>`, its events; `n#<event id>`, their numbers. The own key of a later segment has only the
field `in`: the id of the conversation's first session.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar

from redis.credentials import CredentialProvider
from redis.exceptions import ResponseError

from ...exceptions import SessionNotFound, StorageError, session_not_found
from ...exceptions.validation import check_at_least
from ...models import Session
from ...models.event_page import LogState
from ...models.family import enter_with_parent
from ...models.session_metadata import origins_of
from ..base import DEFAULT_SANDBOX_ID, DEFAULT_TTL_HOURS, AnySession
from ..changes import Appended, Change, is_session_id
from ..durability import DurabilityReport, redis_report
from ..durable import DurableStore
from ..erasing import account_names
from ..lifecycle import Lifecycle
from ..receipts import BACKUPS, Erased, Forgotten
from ..redaction import RedactHook
from ..stored_data import EncodedEvent, StoredSession, damaged_header
from ..walking import is_segment_after
from .accounts import Accounts
from .appending import Appender
from .bodies import Bodies
from .chores import Chores
from .clients import Client
from .deleting import Deleter
from .erasing import Eraser
from .keys import Keys
from .lifetimes import BESIDE, Lifetimes
from .link import Link
from .listing import Listing
from .places import Places
from .reading import find_events, read_session
from .records import Records
from .replies import pairs_of, text_of
from .scripts import Command, ask_hash
from .writing import Writer

_MS_AN_HOUR = 3_600_000
_DURABILITY_SETTINGS = ("appendonly", "appendfsync", "save", "maxmemory", "maxmemory-policy")
# Of a longer conversation, the places of the segments are not remembered all at once.
_READ_NEXT = 1_000


class RedisStore(DurableStore):
    """Keeps sessions in Redis 6.2 or later: one server, a Cluster, or the master that Sentinel names.

    An append is one round trip, however long the session is; appends that wait at the same time are sent
    together. There is one pooled client for each store and event loop, so create one store and share it.

    Args:
        address: a URL, as for `open_store`; or a `redis.asyncio` client, which the store never closes.
        sandbox_id: the tenant. The sessions of other sandboxes are invisible.
        ttl_hours: hours after the last write at which a conversation expires; `None` means never.
        timeout: seconds that a round trip may take, including attempts after a lost connection. Most calls
            are one round trip; reading a long session needs one for each megabyte.
        credential_provider: a credential provider of redis-py, which is asked for user and password whenever
            a connection is made, so that these may change. Use it instead of user and password in the URL;
            a client has its own.
        redact: gets each text of an event before it is written, and returns the text to store: as for
            `open_store`.

    Raises:
        InvalidInput: the sandbox is empty, or a number is invalid.
        StorageError: the URL is invalid, or both it and the provider give user or password.
    """

    def __init__(
        self,
        address: str | Client,
        *,
        sandbox_id: str = DEFAULT_SANDBOX_ID,
        ttl_hours: float | None = DEFAULT_TTL_HOURS,
        timeout: float = 5.0,
        credential_provider: CredentialProvider | None = None,
        redact: RedactHook | None = None,
    ) -> None:
        super().__init__(sandbox_id, ttl_hours, redact)
        check_at_least(timeout, 0, "timeout", "open a store")
        lives = None if ttl_hours is None else max(1, int(ttl_hours * _MS_AN_HOUR))
        self._link = link = Link(address, timeout, credential_provider)
        self._keys = keys = Keys(sandbox_id, is_cluster=link.is_cluster)
        self.record_provider: Records = Records(link)
        self.lifecycle: Lifecycle = Lifecycle(self.record_provider, sandbox_id, ttl_hours)
        self._chores = Chores()
        self._places = places = Places(link, keys, self._take_over_original)
        self._listing = Listing(link, keys, self._chores, None if lives is None else lives * BESIDE)
        self._lifetimes = Lifetimes(link, keys, places, self.lifecycle, self._chores, lives)
        self._bodies = bodies = Bodies(link, keys, places, self._lifetimes)
        self._appender = Appender(link, keys, places, self._lifetimes, bodies)
        self._writer = Writer(link, keys, places, self._listing, self._lifetimes, bodies)
        self._accounts = Accounts(link, keys)
        self._deleter = Deleter(link, keys, places, self.lifecycle, bodies)
        self._eraser = Eraser(link, keys, places, self.lifecycle, bodies, self._erase_copies)
        self._importing: set[str] = set()

    def __repr__(self) -> str:
        return f"RedisStore(sandbox_id={self.sandbox_id!r})"

    async def close(self) -> None:
        """Finish waiting work, and close this event loop's connections, except the application's own."""
        await self._chores.finish()
        await self._link.close()

    # -- what the server reports about itself ---------------------------------------------------

    def get_stats(self) -> dict[str, Any]:
        """Return how the store connects, and the sessions' lifetime; without addresses and passwords."""
        return {
            "provider": "redis",
            "cluster": self._link.is_cluster,
            "sandbox_id": self.sandbox_id,
            "ttl_hours": self.ttl_hours,
        }

    async def durability_report(self) -> DurabilityReport:
        """Report by the server's settings; in a Cluster, by those of one node, which all should have."""
        replicas = (await self._told("replication")).get("connected_slaves", 0)
        settings: dict[str, str | None] = dict.fromkeys(_DURABILITY_SETTINGS)
        for name in settings:
            answer = await self._if_allowed(("CONFIG GET", name)) or {}
            pairs = answer if isinstance(answer, dict) else dict(pairs_of(answer))
            settings[name] = next((text_of(value) for value in pairs.values()), None)
        return redis_report(settings | {"replicas": str(replicas)})

    async def server_version(self) -> str | None:
        """Return the server's version; in a Cluster, that of one node."""
        return (await self._told("server")).get("redis_version")

    async def _told(self, section: str) -> dict[str, Any]:
        """What the server reports about itself; empty if the user may not ask."""
        told = await self._if_allowed(("INFO", section))
        return told if isinstance(told, dict) else {}

    async def _if_allowed(self, command: Command) -> Any:
        """The answer to a command that many hosts of Redis forbid; `None` if this one does."""
        try:
            return await self._link.call(command)
        except StorageError as problem:
            if isinstance(problem.__cause__, ResponseError):
                return None
            raise

    # -- reading and writing --------------------------------------------------------------------

    async def _read(self, session_id: str, start: int | None, end: int | None = None) -> StoredSession | None:
        return await read_session(self._places, session_id, start, end)

    keeps_bodies: ClassVar[bool] = True

    async def _fetch(self, hashes: Collection[str]) -> Mapping[str, bytes]:
        return await self._bodies.fetch(hashes)

    async def _find(self, session_id: str, event_ids: Sequence[str]) -> list[str]:
        return await find_events(self._places, session_id, event_ids)

    async def _add(
        self, session_id: str, events: Sequence[EncodedEvent], born: str, only_at: int | None
    ) -> Appended | None:
        return await self._appender.add(session_id, events, born, only_at)

    async def _create(self, session: AnySession, change: Change) -> bool:
        if session.id not in self._importing and await self._take_over_original(session.id):
            return False
        # The keys beside it come first: a crash in between leaves a record without a session, which expires.
        await self.lifecycle.enter(session.id, session.user_id)
        await self._listing.enter(session.id, session.user_id, session.parent_id, change.place)
        origins = origins_of(session.metadata.properties if session.metadata else {})
        if origins and not is_segment_after(session, session.parent_id):
            await self._listing.enter_fork(session.id, origins)
        parent = await self._places.find(session.parent_id) if session.parent_id else None
        try:
            if parent is None and change.follows_at is not None:
                raise session_not_found(session.parent_id or "")  # nothing goes on from what was deleted
            created = await self._writer.create(session, change, parent)
        except SessionNotFound:
            await self._listing.leave(session.id, session.user_id, session.parent_id)
            await self.lifecycle.delete(session.id)
            raise
        if created:
            self._appender.begin(session.id, change.counters or {})
            if self._listing.sweep_in_turn():
                self._chores.do_in_turn(self._bodies.sweep, "bodies were not swept")
            if parent is not None and not is_segment_after(session, session.parent_id):
                await enter_with_parent(session, self)
        return created

    async def _change(self, session_id: str, change: Change, born: str, only_at: int) -> bool:
        return await self._writer.change(session_id, change, born, only_at)

    async def _take_over_original(self, session_id: str) -> bool:
        """Store a session from the original's lifecycle record; `False` if there is none."""
        data = await self.lifecycle.original(session_id)
        if data is None:
            return False
        try:
            session: AnySession = Session.model_validate_json(data)
        except ValueError as problem:
            raise damaged_header(session_id) from problem
        if session.id != session_id:
            return False
        self._importing.add(session_id)
        try:
            await self._store_new(session)  # unless another process just did
        finally:
            self._importing.discard(session_id)
        await self.lifecycle.drop_original(session_id)
        return True

    async def delete(self, session_id: str) -> None:
        """Delete a session; its parents and children stay."""
        if is_session_id(session_id):
            await self._deleter.delete(session_id)

    async def delete_conversation(self, session_id: str) -> int:
        """Delete all segments of a session's conversation; return their number."""
        place = await self._place_of(session_id)
        return 0 if place is None else await self._deleter.delete_conversation(place)

    # -- erasing --------------------------------------------------------------------------------

    async def _erase_stored(self, session_id: str, written_since: int | None) -> Erased | None:
        return await self._eraser.erase(session_id, written_since) if is_session_id(session_id) else None

    async def _take_up_erasures(self) -> None:
        await self._eraser.take_up()

    async def forks_of(self, conversation_id: str) -> AsyncIterator[str]:
        """The ids of conversations that began with what was said in this one."""
        for each in await self._eraser.forks_of(conversation_id):
            yield each

    async def _forget_user(self, user_id: str) -> Forgotten:
        accounts = await self._eraser.forget(user_id, account_names(user_id))
        not_looked_at = (
            "records of chuk-sessions, and sessions of chuk-ai-session-manager 0.7, that no list has"
        )
        if self._link.is_cluster:
            return Forgotten(accounts, unreached=[f"{not_looked_at}: a Cluster is not searched"])
        try:
            found = await self._eraser.records_of(user_id)
        except StorageError as problem:
            if not isinstance(problem.__cause__, ResponseError):
                raise
            return Forgotten(accounts, unreached=[f"{not_looked_at}: SCAN is forbidden"])
        there = [each for each in found if await self._places.find(each) is not None]
        for each in found:
            if each not in there:
                await self.lifecycle.delete(each)
        return Forgotten(accounts, there)

    async def scrub(self) -> list[str]:
        """Name what is out of reach: what the server wrote to its disk before, as its settings say."""
        told = (await self.durability_report()).settings
        unknown = "the server's append-only file and snapshots, if it writes any: it does not say"
        places = [unknown] if told["appendonly"] is None or told["save"] is None else []
        if told["appendonly"] == "yes":
            places.append("the server's append-only file, until it is rewritten (BGREWRITEAOF)")
        if told["save"]:
            places.append("the server's snapshot on disk, until it writes the next one (BGSAVE)")
        if told["replicas"] not in {None, "0"}:
            places.append("files of the replicas")
        return [*places, BACKUPS]

    # -- segments, lists and lifetimes ----------------------------------------------------------

    async def _place_of(self, session_id: str) -> str | None:
        """The id of the first session of a session's conversation; `None` if the session does not exist."""
        return await self._places.find(session_id) if is_session_id(session_id) else None

    async def segment_ids(self, session_id: str) -> list[str]:
        """Return the ids of all segments of a session's conversation, the first one first."""
        place = await self._place_of(session_id)
        if place is None:
            return []
        ids = await self._places.are_there(await self._places.segments(place), place)
        if len(ids) <= _READ_NEXT:
            for each in ids:  # so that reading them next need not look for them
                self._places.remember(each, place)
        return ids

    async def log_states(self, session_id: str) -> list[LogState]:
        """How far the logs of all segments of a session's conversation have come, the first one first."""
        place = await self._place_of(session_id)
        return [] if place is None else await self._places.log_states(place)

    async def last_segment_id(self, session_id: str) -> str | None:
        """Return the id of the last of these segments, or `None` if the session does not exist."""
        place = await self._place_of(session_id)
        if place is None:
            return None
        last = text_of(await self._link.call(ask_hash(self._keys.of(place), "HGET", "last")) or "")
        if last and await self._places.are_there([last], place):
            self._places.remember(last, place)
            return last
        return await super().last_segment_id(session_id)  # it was deleted

    async def _list(
        self,
        prefix: str,
        parent_id: str | None,
        user_id: str | None,
        limit: int | None,
        before: tuple[int, str] | None,
    ) -> list[tuple[int, str]]:
        return await self._listing.page(prefix, parent_id, user_id, limit, before)

    async def change_account(
        self,
        name: str,
        change: Callable[[dict[str, Any] | None], dict[str, Any] | None],
        *,
        hours: float | None = None,
    ) -> None:
        """Change a small object beside the sessions in one step."""
        await self._accounts.change(name, change, hours)

    async def time_to_live(self, session_id: str) -> float | None:
        """Return the seconds until a session expires unless it is written to."""
        place = await self._place_of(session_id)
        left = None if place is None else await self._lifetimes.left(place)
        if left is None:
            return None
        return math.inf if left < 0 else left / 1000

    async def _extend(self, session_id: str, additional_hours: float) -> bool:
        place = await self._place_of(session_id)
        return place is not None and await self._lifetimes.extend(place, int(additional_hours * _MS_AN_HOUR))
