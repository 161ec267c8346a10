"""What does somebody see of the sessions? Lists, events, findings, questions, proofs: each as their role may.

Every answer is made of `collab.view`'s functions; nothing here hands out a ledger event's body as it stands.
"""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import takewhile
from pathlib import Path
from typing import Any, Final, cast

from veilig.app.serving import Serving
from veilig.collab.accounts import Person
from veilig.collab.board import Card
from veilig.collab.roles import MAY, May, Refused, Role
from veilig.collab.view import shown, shown_value, view
from veilig.core.action_json import from_json
from veilig.core.approval import APPROVAL_EVENTS, Approval, State, explain_missing, fold, need_to_json
from veilig.core.canonical import canonical_text
from veilig.core.ledger import Event
from veilig.core.ledger_checkpoint import read_checkpoints
from veilig.core.ledger_event import ERASED, Row, event_line
from veilig.core.ledger_proof import InclusionProof
from veilig.core.limits import APPROVAL_EXPIRY_S, PROPOSAL_EXPIRY_S
from veilig.core.session import View
from veilig.core.session import fold as fold_session

EVENTS_MAX: Final = 1000  # of one answer
SESSIONS_MAX: Final = 500
PROOFS_MAX: Final = 500  # of one answer: about 1 MB
FINDINGS_MAX: Final = 2000
FINDING: Final = (
    "id", "kind", "title", "path", "line", "column", "rule", "cwe", "severity", "confidence", "message",
    "flow", "status", "fix", "why", "proof", "fingerprint", "opinion", "tests",
)  # fmt: skip

# Every act leaves an `action.started`: the board has counted those that spend an approval.
ASKED: Final = tuple(name for name in APPROVAL_EVENTS if name != "action.started")

type Json = dict[str, Any]


def sessions(serving: Serving, person: Person, query: str, state: str) -> list[Json]:
    """The sessions this person may see, the newest first."""
    found: list[Json] = []
    words = query.casefold().split()
    for card in reversed(list(serving.board.cards.values())):
        role = serving.role(person, card.id)
        if role is None:
            continue
        row = summary(serving, card, role)
        text = f"{row['id']} {row['kind']} {row['task']} {row['repository']} {row['state']}".casefold()
        if (state and row["state"] != state) or not all(word in text for word in words):
            continue
        found.append(row)
        if len(found) == SESSIONS_MAX:
            break
    return found


def summary(serving: Serving, card: Card, role: Role) -> Json:
    """One session in a list."""
    room = serving.room(card.id)
    return {
        "id": card.id,
        "parent": card.parent,
        "kind": card.kind,
        "task": shown(card.task, role),
        "state": card.state(driven=not card.ended and serving.running(card.id)),
        "repository": shown(card.source, role),
        "summary": shown(card.summary, role),
        "model": card.model,
        "started_at": card.started_at,
        "last_at": card.last_at,
        "last_seq": card.last_seq,
        "steps": card.steps,
        "role": str(role),
        "people": [{"id": m.id, "name": m.name, "role": str(m.role)} for m in room.members.values()],
        "waiting": len(card.waiting),
    }


async def session(serving: Serving, person: Person, ident: str) -> Json:
    """One session: its summary, its people, who drives, its plan, counts, and what the asker may do."""
    role = serving.need(person, ident, May.WATCH)
    card = serving.card(ident)
    known = await folded(serving, ident)
    children = [c.id for c in serving.board.cards.values() if c.parent == ident]
    return {
        "summary": summary(serving, card, role),
        "role": str(role),
        "may": sorted(str(act) for act in MAY[role]),
        "people": people(serving, ident),
        "control": serving.room(ident).control(),
        "plan": shown_value(_plan(known), role),
        "counts": {"steps": known.steps, "tokens": known.tokens, "cost_usd": known.cost_usd},
        "children": children,
        "waiting": sorted(card.waiting),
    }


def people(serving: Serving, ident: str) -> list[Json]:
    """Everybody with a role in this room: its members, and the accounts of the server."""
    room = serving.room(ident)
    found: dict[str, Json] = {}
    for account in serving.people():
        if (role := serving.role(account, ident)) is not None:
            found[account.id] = {"id": account.id, "name": account.name, "role": str(role)}
    for member in room.members.values():
        found.setdefault(member.id, {"id": member.id, "name": member.name, "role": str(member.role)})
    return list(found.values())


async def folded(serving: Serving, ident: str, upto: int = 0) -> View:
    """The session as of the event `upto`; 0: now."""

    def known() -> Iterator[Event]:
        events = serving.ledger.events(session=ident)
        return takewhile(lambda event: not upto or event.seq <= upto, events)

    return await asyncio.to_thread(lambda: fold_session(ident, known()))


def _plan(folded: View) -> list[Json]:
    """What the planner has written down to do, or the problems it works on, as steps with a state."""
    state = cast(Json, folded.result or folded.state)
    todo = state.get("plan") or state.get("todo")
    if isinstance(todo, list):
        return [item if isinstance(item, dict) else {"text": str(item)} for item in cast("list[Any]", todo)]
    steps: list[Json] = []
    for item in cast("list[Any]", state.get("problems") or []):
        if isinstance(item, dict):
            one = cast(Json, item)
            steps.append({"text": one.get("title", ""), "state": one.get("status", "open")})
    return steps


async def events(
    serving: Serving, person: Person, ident: str, after: int, limit: int
) -> tuple[list[Json], int, bool]:
    """Views with seq > after, the last seq among them (or `after`), and whether there are more."""
    role = serving.need(person, ident, May.WATCH)
    most = max(1, min(limit, EVENTS_MAX))
    found = await asyncio.to_thread(lambda: list(serving.ledger.events(ident, after=after, limit=most + 1)))
    views = await asyncio.to_thread(lambda: [view(event, role) for event in found[:most]])
    return views, found[:most][-1].seq if found else after, len(found) > most


async def findings(serving: Serving, person: Person, ident: str, upto: int = 0) -> list[Json]:
    """What was found and what became of it, of an audit or a fix; with data flows. upto: as of this event."""
    role = serving.need(person, ident, May.WATCH)
    known = await folded(serving, ident, upto)
    state = cast(Json, known.result or known.state)
    inner = cast(Json, state.get("data") if isinstance(state.get("data"), dict) else state)
    report = cast(Json, inner.get("report") or {})
    given = cast("list[Any]", report.get("findings") or state.get("problems") or [])
    found: list[Json] = []
    for item in given[:FINDINGS_MAX]:
        one = cast(Json, item) if isinstance(item, dict) else {"title": str(item)}
        found.append({k: shown_value(one[k], role) for k in FINDING if k in one})
    if (left := len(given) - FINDINGS_MAX) > 0:
        found.append({"title": f"{left} more are in the report of the session", "kind": "skipped"})
    return found


# --- questions to people --------------------------------------------------------------------------------


async def approvals(serving: Serving, person: Person, *, every: bool = False) -> list[Json]:
    """The questions of all sessions this person may see, open ones unless `every`."""
    known, recorded = await _known(serving)
    now_ms, boot = await serving.ledger.submit(lambda tx: (tx.now_ms(), tx.boot), durable=False)
    found: list[Json] = []
    for asked in known.values():
        role = serving.role(person, asked.session)
        state = asked.state(now_ms, boot)
        if role is None or not (every or state in (State.OPEN, State.APPROVED)):
            continue
        found.append(_question(serving, person, role, asked, recorded.get(asked.id, []), state, now_ms))
    return found


async def approval(serving: Serving, person: Person, ident: str) -> Json:
    """One question with what stands around it: evidence, preview, blast radius, votes. Raises Refused."""
    known, recorded = await _known(serving)
    asked = known.get(ident)
    role = serving.role(person, asked.session) if asked is not None else None
    if asked is None or role is None:
        raise Refused("there is no such question", status=404)
    now_ms, boot = await serving.ledger.submit(lambda tx: (tx.now_ms(), tx.boot), durable=False)
    state = asked.state(now_ms, boot)
    made = _question(serving, person, role, asked, recorded.get(asked.id, []), state, now_ms)
    around = await asyncio.to_thread(
        lambda: [e for e in serving.ledger.events(asked.session) if e.body.get("ref") == asked.ref]
    )
    made["evidence"] = [view(event, role) for event in around if event.name != "action.output"]
    proposed = next((e for e in around if e.name == "action.proposed"), None)
    if proposed is not None:
        made["blast_radius"] = shown_value(_blast(cast(Json, proposed.body["action"])), role)
    return made


async def _known(serving: Serving) -> tuple[dict[str, Approval], dict[str, list[Event]]]:
    told = await asyncio.to_thread(lambda: list(serving.ledger.events(names=ASKED)))
    recorded: dict[str, list[Event]] = {}
    for event in told:
        if event.name in ("approval.asked", "approval.voted"):
            recorded.setdefault(str(event.body["approval"]), []).append(event)
    known = fold(told)
    return {ident: asked.spent_if(ident in serving.board.spent) for ident, asked in known.items()}, recorded


def _question(
    serving: Serving,
    person: Person,
    role: Role,
    asked: Approval,
    recorded: list[Event],
    state: State,
    now_ms: int,
) -> Json:
    missing = asked.missing()
    if missing:
        left_s = PROPOSAL_EXPIRY_S - (now_ms - asked.asked_ms) / 1000
    else:
        last = max((b.t_ms for b in asked.ballots), default=asked.asked_ms)
        left_s = min((n.expiry_s for n in asked.needs), default=APPROVAL_EXPIRY_S) - (now_ms - last) / 1000
    votes: list[Json] = []
    seq, why = 0, ""
    for event in recorded:
        if event.name == "approval.asked":
            seq, why = event.seq, "; ".join(str(w) for w in cast("list[Any]", event.body["why"]))
        else:
            vote = {k: event.body[k] for k in ("actor", "vote", "reason", "via")}
            votes.append({**vote, "at": event.wall_ms, "seq": event.seq})
    return {
        "id": asked.id,
        "session": asked.session,
        "seq": seq,
        "state": str(state),
        "digest": asked.digest,
        "proposer": asked.proposer,
        "title": shown(asked.preview.strip().partition("\n")[0], role),
        "preview": shown_value(asked.preview, role),
        "why": shown_value(why, role),
        "needs": [need_to_json(need) for need in asked.needs],
        "missing": [need_to_json(need) for need in missing],
        "missing_text": explain_missing(missing),
        "votes": shown_value(votes, role),
        "voted": any(v["actor"] == person.id for v in votes),
        "may_vote": May.VOTE in MAY[role] and state in (State.OPEN, State.APPROVED),
        "expires_s": max(0, round(left_s)),
        "repository": shown(serving.card(asked.session).source, role),
    }


def _blast(action: Json) -> Json:
    """What exactly the act touches, and which classes of consequence it has."""
    made = from_json(action)
    touched = [
        v for k, v in action.items() if k in ("path", "paths", "target", "service", "services", "argv")
    ]
    if isinstance(changes := action.get("changes"), list):
        named = [cast(Json, c).get("path") for c in cast("list[Any]", changes) if isinstance(c, dict)]
        touched.append([n for n in named if n])
    return {
        "kind": made.kind,
        "target": str(made.target),
        "effects": sorted(str(effect) for effect in made.effects),
        "scope": str(getattr(made, "scope", "")),
        "touches": touched,
    }


# --- proofs ---------------------------------------------------------------------------------------------


async def proofs(serving: Serving, person: Person, ident: str, after: int, limit: int) -> Json:
    """That events of a session stand in the ledger, all under one root (RFC 9162), and the newest checkpoint.

    Each: {seq, leaf, index, path}, and entry: what the leaf is the hash of, with the body's commitment in the
    place of the body. Its salt and the body itself, which open that commitment, are for the owner alone.
    """
    role = serving.need(person, ident, May.WATCH)
    most = max(1, min(limit, PROOFS_MAX))
    return await asyncio.to_thread(_proofs, serving, ident, role, after, most)


async def proof(serving: Serving, person: Person, ident: str, seq: int) -> Json:
    """The proof of one event."""
    found = await proofs(serving, person, ident, seq - 1, 1)
    if not found["proofs"] or found["proofs"][0]["seq"] != seq:
        raise Refused(f"there is no event {seq} in this session", status=404)
    return {**found["proofs"][0], **{k: found[k] for k in ("size", "root", "checkpoint")}}


def _proofs(serving: Serving, ident: str, role: Role, after: int, most: int) -> Json:
    found = list(serving.ledger.events(ident, after=after, limit=most + 1, erased=True))
    events = found[:most]
    made = serving.ledger.prove_all([event.seq for event in events])
    for event, one in zip(events, made, strict=True):
        if event.leaf != one.leaf:
            raise Refused(
                f"event {event.seq} was changed after it was recorded", status=500,
                fix="run `veilig ledger verify`",
            )  # fmt: skip
    checkpoint = _checkpoint(serving)
    return {
        "proofs": [_proven(event, one, role) for event, one in zip(events, made, strict=True)],
        "size": made[0].size if made else serving.ledger.size(),
        "root": made[0].root if made else "",
        "checkpoint": checkpoint,
        "last": events[-1].seq if events else after,
        "more": len(found) > most,
    }


def _proven(event: Event, one: InclusionProof, role: Role) -> Json:
    made: Json = {"seq": event.seq, "leaf": one.leaf, "index": event.seq - 1, "path": list(one.path)}
    if event.v != 1 or role is Role.OWNER:  # in the first version the body itself was hashed
        made["entry"] = entry(event)
    if event.v != 1 and role is Role.OWNER and not event.erased:
        made |= {"salt": event.salt, "body": canonical_text(event.body)}
    return made


def entry(event: Event) -> str:
    """The canonical JSON that the leaf is the hash of: SHA-256(0x00 || entry)."""
    body = ERASED if event.erased else canonical_text(event.body)
    row: Row = (
        event.seq, event.session, event.name, event.v, event.t_ms, event.boot, event.up_ms, event.wall_ms,
        body, b"", b"", bytes.fromhex(event.salt),
    )  # fmt: skip
    return event_line(row).decode()


def _checkpoint(serving: Serving) -> Mapping[str, Any] | None:
    """The newest signed checkpoint, and that what it vouches for is a prefix of the ledger as it is now."""
    elsewhere = serving.policy.elsewhere.ledger_anchor_dir
    anchors = Path(elsewhere).expanduser() if elsewhere else serving.home.anchors
    known, _ = read_checkpoints(anchors / f"{serving.ledger.id}.checkpoints", serving.ledger.id)
    last = max(known, key=lambda c: c.size, default=None)
    if last is None:
        return None
    same = serving.ledger.prove_consistency(last.size, serving.ledger.size())
    return {**asdict(last), "consistency": {"size": same.size2, "root": same.root2, "path": list(same.path)}}
