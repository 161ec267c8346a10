"""How does one event reach everybody who watches, each as their role may, and nobody waits for the slow?

The view of an event is made once per role and put into the bounded queue of everybody with that role. A queue
that is full is emptied, and its owner is told from where to fetch the rest (`resync`): nothing is lost, since
the ledger has it. Whoever lost their role hears `bye`.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import orjson

from veilig.app.serving import SESSION, Serving
from veilig.app.serving_look import people
from veilig.collab.accounts import Login
from veilig.collab.board import Card
from veilig.collab.roles import Refused, Role
from veilig.collab.view import view
from veilig.core.errors import LedgerError
from veilig.server.doorway import Doorway
from veilig.server.frames import Door, framed
from veilig.server.oidc import Oidc

if TYPE_CHECKING:
    from veilig.core.ledger import Event

QUEUE_MAX: Final = 256  # messages that wait for one watcher: some seconds of a busy session
CATCH_UP_MAX: Final = 500  # events sent through the socket after a reconnect; more are fetched
SUBS_MAX: Final = 4096  # watchers of the whole server
SUBS_OF_PERSON: Final = 64
PEOPLE_MAX: Final = 200  # in one message
TOLD_EVERY_S: Final = 0.5  # who is here changes all the time while many come
STUCK_S: Final = 60.0  # a socket that takes nothing for so long is closed
LOOK_S: Final = 15.0  # how soon a sign-in that ended elsewhere is noticed


class Watching:
    """One watcher of one session: a socket or a stream of server-sent events."""

    __slots__ = (
        "at", "door", "gone", "last", "login", "lost", "queue", "role", "sending_since", "session", "task",
        "wake",
    )  # fmt: skip

    def __init__(self, session: str, login: Login, role: Role) -> None:
        self.session = session
        self.login = login
        self.role = role
        self.queue: deque[tuple[int, str]] = deque()
        self.door: Door | None = None  # a faster way, once what came before was sent
        self.task: asyncio.Task[None] | None = None
        self.wake = asyncio.Event()
        self.last = 0  # the seq of the last event that was taken out of the queue
        self.at = 0  # where the person looks
        self.lost = False
        self.gone: dict[str, Any] | None = None
        self.sending_since = 0.0

    def put(self, message: str, seq: int = 0) -> None:
        """Queue a message (of event `seq`), or note that some are lost."""
        if self.lost or self.gone is not None:
            return
        if len(self.queue) >= QUEUE_MAX:
            self.queue.clear()
            self.lost = True
        else:
            self.queue.append((seq, message))
        self.wake.set()

    def hand(self, message: str, frame: bytes, seq: int) -> None:
        """Give an event to the socket at once when nothing waits before it, else queue it."""
        door = self.door
        if (
            door is not None
            and not (self.queue or self.sending_since or self.lost or self.gone)
            and door(frame)
        ):
            self.last = seq
        else:
            self.put(message, seq)

    def end(self, why: str, fix: str) -> None:
        """Say good-bye after what is queued."""
        if self.gone is None:
            self.gone = {"t": "bye", "why": why, "fix": fix}
            self.wake.set()


def dumped(message: dict[str, Any]) -> str:
    """A message as it goes over the wire."""
    return orjson.dumps(message, default=str).decode()


class Hub:
    """Everybody who watches, by session."""

    def __init__(self, serving: Serving, doorway: Doorway) -> None:
        self.serving = serving
        self.doorway = doorway
        self.oidc: Oidc | None = None
        self.watchers: dict[str, set[Watching]] = {}
        self.resyncs = 0
        self.stopping = False
        self._dirty: dict[str, bool] = {}
        self._people: dict[str, list[dict[str, Any]]] = {}
        self._task: asyncio.Task[None] | None = None
        serving.heard.append(self.told)

    def open(self) -> None:
        """Begin to look after the watchers."""
        self._task = asyncio.create_task(self._upkeep())

    async def close(self) -> None:
        """Say good-bye to everybody."""
        self.stop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def stop(self) -> None:
        """The server stops: everybody is told, and streams end."""
        self.stopping = True
        for one in self.everybody():
            one.end("the server stops", "wait a moment; the page comes back by itself")

    async def ended(self, within_s: float) -> None:
        """Stop, and wait until everybody has heard it, but not for those who do not listen."""
        self.stop()
        if tasks := [one.task for one in self.everybody() if one.task is not None]:
            await asyncio.wait(tasks, timeout=within_s)

    def everybody(self) -> Iterable[Watching]:
        """All watchers of all sessions."""
        return [one for some in self.watchers.values() for one in some]

    # --- coming and going -------------------------------------------------------------------------------

    def may_enter(self, session: str, login: Login) -> Role:
        """As what. Raises Refused: 404 for who may not know of the session, 429 for too many."""
        role = self.serving.role(login.person, session)
        if role is None:
            raise Refused("there is no such session", status=404)
        every = list(self.everybody())
        mine = sum(1 for one in every if one.login.person.id == login.person.id)
        if len(every) >= SUBS_MAX or mine >= SUBS_OF_PERSON:
            raise Refused(
                "too many watch already", status=429, fix="close another window", retry_after_s=30.0
            )
        if self.stopping:
            raise Refused("the server stops", status=503, retry_after_s=5.0)
        return role

    def enter(self, session: str, login: Login) -> Watching:
        """A new watcher. Raises Refused."""
        one = Watching(session, login, self.may_enter(session, login))
        self.watchers.setdefault(session, set()).add(one)
        self._dirty[session] = True
        return one

    def leave(self, one: Watching) -> None:
        """A watcher that is gone."""
        some = self.watchers.get(one.session)
        if some is not None:
            some.discard(one)
            self._dirty[one.session] = True
            if not some:
                del self.watchers[one.session]
                self._people.pop(one.session, None)

    def first(self, one: Watching, after: int) -> list[str]:
        """What a watcher is sent before anything live: hello, then what it missed, or from where to fetch it.

        Called in the same turn as `enter`: what comes later is in the queue, so nothing is lost or doubled.
        """
        card = self.serving.card(one.session)
        hello = {
            "t": "hello",
            "seq": card.last_seq,
            "role": str(one.role),
            "people": self.people(one.session),
            "control": self.serving.room(one.session).control(),
        }
        one.last = after
        upto = self.serving.seq
        if self.serving.ledger.far and card.last_seq > after:
            # Reading would hold everybody up while a network is waited for: they fetch it themselves.
            return [dumped(hello), dumped({"t": "resync", "after": after})]
        if self.serving.ledger.far:
            return [dumped(hello)]
        limit = CATCH_UP_MAX + 1
        missed = [
            e for e in self.serving.ledger.events(one.session, after=after, limit=limit) if e.seq <= upto
        ]
        if len(missed) > CATCH_UP_MAX:
            return [dumped(hello), dumped({"t": "resync", "after": after})]
        if missed:
            one.last = missed[-1].seq
        return [dumped(hello), *(event_message(event, one.role) for event in missed)]

    def people(self, session: str) -> list[dict[str, Any]]:
        """Who has a role there, who of them is here, and where they look; made anew when that changed."""
        if session in self._people and not self._dirty.get(session):
            return self._people[session]
        here: dict[str, list[Watching]] = {}
        for one in self.watchers.get(session, ()):
            here.setdefault(one.login.person.id, []).append(one)
        known = {p["id"]: p for p in people(self.serving, session)}
        for ident, some in here.items():
            known.setdefault(
                ident, {"id": ident, "name": some[0].login.person.name, "role": str(some[0].role)}
            )
        made = [
            {**p, "here": p["id"] in here, "at": max((w.at for w in here.get(p["id"], ())), default=0)}
            for p in sorted(known.values(), key=lambda p: (p["id"] not in here, p["name"]))
        ]
        self._people[session] = made[:PEOPLE_MAX]
        self._dirty[session] = False
        return self._people[session]

    def looks_at(self, one: Watching, seq: int) -> None:
        """Presence: where this person looks."""
        if one.at != seq:
            one.at = seq
            self._dirty[one.session] = True

    # --- events -----------------------------------------------------------------------------------------

    def told(self, event: "Event", card: Card | None, changed: bool) -> None:
        """One event of the ledger, as the serving heard it."""
        if event.session == SESSION:
            self._accounts_changed(event)
            return
        if changed and card is not None:
            self._room_changed(card.id.partition(".")[0])
        some = self.watchers.get(event.session)
        if not some:
            return
        made: dict[Role, tuple[str, bytes]] = {}
        for one in some:
            ready = made.get(one.role)
            if ready is None:
                message = event_message(event, one.role)
                ready = made[one.role] = (message, framed(message))
            one.hand(*ready, event.seq)

    def _room_changed(self, root: str) -> None:
        control = dumped({"t": "control", **self.serving.room(root).control()})
        for session, some in list(self.watchers.items()):
            if session.partition(".")[0] != root:
                continue
            self._dirty[session] = True
            for one in some:
                self._still(one)
                one.put(control)

    def _accounts_changed(self, event: "Event") -> None:
        who = event.body.get("person")
        for one in self.everybody():
            if one.login.person.id == who and event.name == "person.changed":
                self.look_again(one)

    def _still(self, one: Watching) -> None:
        """The role may have changed, or be gone."""
        role = self.serving.role(one.login.person, one.session)
        if role is None:
            one.end("you are not in this session any more", "ask its owner for a new link")
        elif role is not one.role:
            one.role = role
            # What waits was made for the other role: it is fetched anew, as the new one may see it.
            one.queue.clear()
            one.lost = True
            one.wake.set()

    def look_again(self, one: Watching) -> None:
        """Is the account still there, and active?"""
        account = self.serving.person(one.login.person.id)
        if account is None or not account.active:
            one.end("your account is blocked", "ask an owner of this server")
            return
        one.login = Login(account, one.login.csrf, one.login.until, one.login.key)
        self._still(one)

    def signed_out(self, key: str) -> None:
        """A sign-in ended: its sockets end with it."""
        for one in self.everybody():
            if one.login.key == key:
                one.end("you signed out", "sign in again")

    async def _upkeep(self) -> None:
        looked = time.monotonic()
        while True:
            await asyncio.sleep(TOLD_EVERY_S)
            for session in [s for s, dirty in self._dirty.items() if dirty]:
                some = self.watchers.get(session)
                if not some:
                    self._dirty.pop(session, None)
                    continue
                message = dumped({"t": "people", "people": self.people(session)})
                for one in some:
                    one.put(message)
            if self.serving.broken:
                for one in self.everybody():
                    one.end("the record cannot be read", "ask who runs this server")
            now = time.monotonic()
            for one in self.everybody():
                if one.sending_since and now - one.sending_since > STUCK_S:
                    one.end("this watcher takes nothing", "reload the page")
                    if one.task is not None:
                        one.task.cancel()
            if now - looked > LOOK_S:
                looked = now
                for one in self.everybody():
                    if time.time() > one.login.until:
                        one.end("your sign-in has ended", "sign in again")
                await self._ended_elsewhere()

    async def _ended_elsewhere(self) -> None:
        """Who signed out at another server is out here, too."""
        accounts, keys = self.serving.accounts, {one.login.key for one in self.everybody()}
        if not keys:
            return
        try:
            live = await accounts.read(lambda: accounts.live(keys))
        except LedgerError:  # the next look tells; what they do is refused meanwhile
            return
        for one in self.everybody():
            if one.login.key in keys - live:
                one.end("your sign-in has ended", "sign in again")


def event_message(event: "Event", role: Role) -> str:
    """The wire form of one event for one role."""
    return dumped({"t": "event", "e": view(event, role)})


def taken(one: Watching) -> list[str]:
    """What is to be sent now; empties the queue. After a loss that is where to fetch from."""
    waiting = [*one.queue]
    one.queue.clear()
    one.wake.clear()
    one.last = max([one.last, *(seq for seq, _ in waiting)])
    messages = [message for _, message in waiting]
    if one.lost:
        one.lost = False
        messages.append(dumped({"t": "resync", "after": one.last}))
    return messages
