"""How do the people of a page reach sessions? Accounts, rooms and the ledger, joined; wiring for `server/`.

One task follows the ledger: what anybody records, in any process, is folded into the board and told to
whoever listens. Whoever appends here waits until their own event has come back that way, so that the next
request sees it, and an answer never comes before those who watch could know.
"""

import asyncio
import contextlib
import hashlib
import logging
import os
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from veilig.app.wiring import Setting, operator_policy
from veilig.collab.accounts import Accounts, Login, Person, hashed_token
from veilig.collab.board import BOARD_EVENTS, Board, Card
from veilig.collab.roles import May, Refused, Role, need
from veilig.collab.room import INVITE_S, INVITE_S_MAX, Draft, Room, handed, must_hold
from veilig.core.canonical import JSON
from veilig.core.errors import LedgerError, VeiligError
from veilig.core.ledger import Event, Ledger, Tx
from veilig.core.lock import driven
from veilig.core.redact import Redactor
from veilig.home import find_home, local_person

log = logging.getLogger(__name__)
SESSION: Final = "people"  # the ledger's session id of what concerns the whole server
TEXT_CHARS_MAX: Final = 50_000
POLL_S: Final = 0.02  # a viewer does not notice; one PRAGMA costs a few microseconds
SEEN_S: Final = 10.0  # an append of ours comes back at once, or something is very wrong
ROLL_TRIES: Final = 15
ONCE_S: Final = 15 * 60.0  # the link that the terminal prints

type Heard = Callable[[Event, Card | None, bool], None]


@dataclass(frozen=True, slots=True)
class Now:
    """The ledger's time and the wall's, in ms."""

    t_ms: int
    wall_ms: int


class Serving:
    """Everything of one server but the network. roots: the folders whose projects may be worked on;
    services: the files, as whole paths, of the services that may be healed.
    """

    def __init__(self, setting: Setting, roots: Sequence[Path], services: Sequence[Path] = ()) -> None:
        self.setting = setting
        self.home = find_home(setting.environment)
        self.policy = operator_policy(self.home, setting)
        self.roots = tuple(root.resolve() for root in roots)
        self.services = tuple(services)
        self.redactor: Redactor = self.home.redactor(setting.environment)
        self.ledger: Ledger = self.home.open_ledger(self.policy)
        self.accounts = Accounts(
            self.home.open_tables(self.policy), login_s=self.policy.elsewhere.page.session_s
        )
        self._roster = {p.id: p for p in self.accounts.people()} if self.accounts.far else {}
        self.board = Board()
        self.seq = 0
        self.heard: list[Heard] = []
        self.broken = ""  # why the ledger is not followed any more; then nobody is served
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._load()

    def _load(self) -> None:
        size = self.ledger.size()
        for event in self.ledger.events(names=BOARD_EVENTS):
            if event.seq <= size:
                self.board.take(event)
        for known in self.ledger.sessions():
            if (card := self.board.cards.get(known.session)) is not None:
                card.last_seq = max(card.last_seq, min(known.last_seq, size))
                card.last_at = max(card.last_at, known.last_wall_ms)
        self.seq = size

    def close(self) -> None:
        """Let go of the files."""
        self.accounts.close()
        self.ledger.close()

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncGenerator[None]:
        """While inside, the board follows the ledger and listeners are told."""
        task = asyncio.create_task(self._follow_or_say())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _follow_or_say(self) -> None:
        try:
            await self._follow()
        except VeiligError as error:
            log.critical("the ledger is not followed any more: %s", error)
            self.broken = error.what

    async def _follow(self) -> None:
        async for event in self.ledger.follow(after=self.seq, poll_s=POLL_S):
            if event.session == SESSION and self.accounts.far:
                await self._call_roll()
            changed = self.board.take(event)
            self.seq = event.seq
            card = self.board.cards.get(event.session)
            for listener in self.heard:
                listener(event, card, changed)
            if self._waiting:
                for seq, future in self._waiting:
                    if seq <= event.seq and not future.done():
                        future.set_result(None)
                self._waiting = [w for w in self._waiting if not w[1].done()]
            # A burst must not keep others from their turn.
            await asyncio.sleep(0)

    async def _call_roll(self) -> None:
        """Who there is, after somebody said that it changed, also at another server. Raises LedgerError."""
        for _ in range(ROLL_TRIES):
            try:
                self._roster = {p.id: p for p in await asyncio.to_thread(self.accounts.people)}
                return
            except LedgerError as error:  # each try waits a few seconds for the database
                log.warning("the people cannot be read: %s", error.why)
        self._roster = {p.id: p for p in await asyncio.to_thread(self.accounts.people)}

    def people(self) -> list[Person]:
        """Everybody with an account, as far as the ledger has been followed."""
        return list(self._roster.values()) if self.accounts.far else self.accounts.people()

    def person(self, ident: str) -> Person | None:
        """One of them."""
        return self._roster.get(ident) if self.accounts.far else self.accounts.find(ident)

    async def append(self, name: str, session: str, body: Mapping[str, JSON]) -> Event:
        """Record a fact, durably, and wait until it was told. Its texts are sealed."""
        sealed: dict[str, JSON] = {key: self._sealed(value) for key, value in body.items()}
        event = await self.ledger.submit(lambda tx: tx.append(name, session, sealed))
        await self.seen(event.seq)
        return event

    def _sealed(self, value: JSON) -> JSON:
        return self.redactor.seal(value) if isinstance(value, str) else value

    async def seen(self, seq: int) -> None:
        """Wait until the event has been folded in. Raises Refused (503) when nobody follows the ledger."""
        if self.seq >= seq:
            return
        self.must_work()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((seq, future))
        try:
            async with asyncio.timeout(SEEN_S):
                await future
        except TimeoutError as error:
            raise Refused(
                "the record is slow", status=503, why="the change was made", fix="reload"
            ) from error

    def must_work(self) -> None:
        """Raises Refused (503) when the ledger cannot be followed: what is shown would not be what is."""
        if self.broken:
            raise Refused(
                "the record cannot be read", status=503, why=self.broken, fix="run `veilig ledger verify`"
            )

    async def now(self) -> Now:
        """The two clocks that decide whether a link still opens."""
        t_ms = await self.ledger.submit(lambda tx: tx.now_ms(), durable=False)
        return Now(t_ms, int(time.time() * 1000))

    # --- who may what -----------------------------------------------------------------------------------

    def card(self, session: str) -> Card:
        """The session's card. Raises Refused (404)."""
        card = self.board.cards.get(session)
        if card is None:
            raise Refused("there is no such session", status=404, fix="see the list of sessions")
        return card

    def room(self, session: str) -> Room:
        """The room in which a session is watched: that of the one a person started, for a child's, too."""
        return self.board.room(session.partition(".")[0])

    def role(self, person: Person, session: str) -> Role | None:
        """What this person is there; None: nobody, and then the session does not exist for them."""
        if session not in self.board.cards or not person.active:
            return None
        return self.room(session).role(person.id, person.role)

    def need(self, person: Person, session: str, act: May) -> Role:
        """Raises Refused when they may not."""
        return need(self.role(person, session), act)

    def running(self, session: str) -> bool:
        """Whether a process drives it now."""
        return driven(self.home.session(session.partition(".")[0]))

    # --- signing in -------------------------------------------------------------------------------------

    async def sign_in(self, name: str, password: str, address: str) -> tuple[str, Login]:
        """A cookie for who gives the right password. Raises Refused (401, 429)."""
        person = await asyncio.to_thread(self.accounts.sign_in, name, password, address)
        return await self.entered(person, "password")

    async def entered(self, person: Person, via: str) -> tuple[str, Login]:
        """A cookie for somebody who proved who they are; the ledger hears of it."""
        cookie, login = await asyncio.to_thread(self.accounts.log_in, person, via)
        await self.append("person.entered", SESSION, {"person": person.id, "via": via})
        return cookie, login

    def once(self) -> str:
        """A token that signs the person at this machine in, once, as owner."""
        token = secrets.token_urlsafe(32)
        self.accounts.give(f"link:{hashed_token(token)}", "owner", ONCE_S)
        return token

    async def accept(self, token: str, name: str, known: Person | None) -> tuple[Person, str, Role]:
        """Who comes through this link (a new guest when nobody is signed in), into which session, as what.

        The link of the terminal gives the whole server; its session is empty. Raises Refused (410).
        """
        key = hashed_token(token)
        if await self.accounts.read(lambda: self.accounts.take(f"link:{key}")) == "owner":
            return await self._local_owner(), "", Role.OWNER
        now = await self.now()
        for card in self.board.cards.values():
            for invite in card.room.invites.values():
                if not secrets.compare_digest(invite.hash, key):
                    continue
                if not invite.live(now.t_ms, now.wall_ms):
                    raise Refused("this link opens nothing any more", status=410, fix="ask for a new one")
                person = known or await self._guest(name)
                mine = self.role(person, card.id)
                if mine is not None and mine is not invite.role and person.role is not None:
                    return person, card.id, mine  # a link never takes anything away
                body = {
                    "person": person.id,
                    "name": person.name,
                    "role": str(invite.role),
                    "invite": invite.id,
                }
                await self.append("room.joined", card.id, body)
                return person, card.id, invite.role
        raise Refused("this link opens nothing", status=410, why="it was used up, revoked or mistyped")

    async def _local_owner(self) -> Person:
        local = local_person(self.policy).id
        found = await self.accounts.read(lambda: self.accounts.find(local))
        if found is None:
            found = await asyncio.to_thread(self.accounts.add, local, local, Role.OWNER)
            body = {"person": local, "name": local, "role": "owner", "via": "terminal", "actor": local}
            await self.append("person.added", SESSION, body)
        return found

    async def _guest(self, name: str) -> Person:
        shown = " ".join(name.split())[:64]
        if not shown or not shown.isprintable():
            raise Refused("say who you are", status=400, why="others see it beside what you do")
        ident = f"guest-{secrets.token_hex(4)}"
        person = await asyncio.to_thread(self.accounts.add, ident, shown, None)
        body = {"person": ident, "name": shown, "role": "", "via": "link", "actor": ident}
        await self.append("person.added", SESSION, body)
        return person

    # --- acts of people in a room ---------------------------------------------------------------------

    async def comment(self, person: Person, session: str, text: str, anchor: int) -> Event:
        """A remark, on an event when anchor > 0. Nobody acts on it. Raises Refused."""
        self.need(person, session, May.COMMENT)
        self._must_be_text(text)
        await self._must_be_anchor(session, anchor)
        return await self.append(
            "comment.added", session, {"actor": person.id, "text": text, "anchor": anchor}
        )

    async def control(self, person: Person, session: str, act: str, to: str) -> Event:
        """Ask for, offer, accept, decline, release or take control. Raises Refused."""
        role = self.need(person, session, May.STEER)
        root = session.partition(".")[0]
        if to:
            other = self.person(to)
            need(self.role(other, root) if other else None, May.STEER)
        name, body = handed(self.room(root), person.id, role, act, to)
        return await self.append(name, root, body)

    async def steers(self, person: Person, session: str) -> None:
        """Make sure that this person drives: at once when nobody does. Raises Refused."""
        role = self.need(person, session, May.STEER)
        root = session.partition(".")[0]
        if (draft := must_hold(self.room(root), person.id, role)) is not None:
            await self._if_unchanged(root, draft)

    async def _if_unchanged(self, root: str, draft: Draft) -> None:
        """Two people who take free control at once: the second is told. Raises Refused (409)."""
        passed = ("control.passed",)
        before = await self.ledger.read(
            lambda: [e.seq for e in self.ledger.events(session=root, names=passed)]
        )

        def record(tx: Tx) -> Event:
            now = [e.seq for e in tx.events(session=root, names=passed)]
            if now != before:
                raise Refused("somebody was faster", status=409, fix="ask for control")
            return tx.append(draft[0], root, draft[1])

        event = await self.ledger.submit(record)
        await self.seen(event.seq)

    async def invite(self, person: Person, session: str, role: Role, expires_s: int) -> tuple[str, str]:
        """A link's token and its id; the token is not kept. Raises Refused."""
        self.need(person, session, May.INVITE)
        if not 1 <= expires_s <= INVITE_S_MAX:
            raise Refused(f"{expires_s} s is outside 1 to {INVITE_S_MAX}", status=400, fix="give seconds")
        token, ident = secrets.token_urlsafe(32), os.urandom(4).hex()
        body: dict[str, JSON] = {
            "invite": ident, "role": str(role), "hash": hashlib.sha256(token.encode()).hexdigest(),
            "expires_s": expires_s or INVITE_S, "actor": person.id,
        }  # fmt: skip
        event = await self.ledger.submit(lambda tx: tx.append("room.invited", session, body))
        await self.seen(event.seq)
        return token, ident

    async def uninvite(self, person: Person, session: str, invite: str) -> None:
        """Close a link; who came through it with no role of their own is out at once. Raises Refused."""
        self.need(person, session, May.INVITE)
        known = self.room(session).invites.get(invite)
        if known is None:
            raise Refused("there is no such invitation", status=404)
        await self.append("room.uninvited", session, {"invite": invite, "actor": person.id})
        for guest in known.used_by:
            if (member := self.room(session).members.get(guest)) is not None and guest != person.id:
                body = {"person": guest, "name": member.name, "role": "", "actor": person.id}
                await self.append("room.assigned", session, body)

    async def assign(self, person: Person, session: str, other: str, role: Role | None) -> None:
        """Give somebody a role in this room, or (None) put them out of it. Raises Refused."""
        self.need(person, session, May.INVITE)
        account = self.person(other)
        if account is None:
            raise Refused("there is no such person", status=404)
        if account.role is Role.OWNER and role is not Role.OWNER:
            raise Refused("an owner of the server stays one in every room", status=409)
        body = {"person": other, "name": account.name, "role": str(role or ""), "actor": person.id}
        await self.append("room.assigned", session, body)

    def _must_be_text(self, text: str) -> None:
        if not text.strip() or len(text) > TEXT_CHARS_MAX:
            what = "there is nothing in it" if not text.strip() else "it is too long"
            raise Refused(what, status=400, fix=f"1 to {TEXT_CHARS_MAX} characters")

    async def _must_be_anchor(self, session: str, anchor: int) -> None:
        if anchor < 0 or anchor > self.seq:
            raise Refused(f"there is no event {anchor}", status=400)
        if not anchor:
            return
        found = await self.ledger.read(lambda: list(self.ledger.events(session, after=anchor - 1, limit=1)))
        if not any(e.seq == anchor for e in found):
            raise Refused(f"event {anchor} is of another session", status=400)

    async def say(self, person: Person, session: str, text: str, anchor: int) -> Event:
        """A word to the planner: data for it, never an approval. Raises Refused; 409 when nobody listens."""
        self._must_be_text(text)
        await self.steers(person, session)
        await self._must_be_anchor(session, anchor)
        if self.card(session).kind != "run":
            raise Refused("only a model can be talked to", status=409, fix="comment instead")
        body: dict[str, JSON] = {"actor": person.id, "via": "page", "text": text, "anchor": anchor}
        return await self.append("session.told", session, body)
