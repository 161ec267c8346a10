"""How is each question of the page answered? Handlers that change nothing."""

from veilig.app import serving_act, serving_diff, serving_look
from veilig.collab.roles import MAY, May, Role
from veilig.server.asked import Asked
from veilig.server.live import Hub
from veilig.server.replies import Reply, told

# The handlers share one shape: the hub (with the serving behind it) and what was asked.


async def me(hub: Hub, asked: Asked) -> Reply:
    """Who is signed in."""
    del hub
    person = asked.me.person
    may = MAY[person.role] if person.role is not None else frozenset[May]()
    return told(
        {
            "person": {"id": person.id, "name": person.name, "role": str(person.role or "")},
            "csrf": asked.me.csrf,
            "until": round(asked.me.until * 1000),
            "may": {"start": May.START in may, "admin": person.role is Role.OWNER},
        }
    )


async def providers(hub: Hub, asked: Asked) -> Reply:
    """How one can sign in."""
    del asked
    found = [{"id": "password", "name": "name and password", "url": ""}]
    if hub.oidc is not None:
        found.append({"id": "oidc", "name": "identity provider", "url": "/api/v1/auth/oidc/start"})
    return told({"providers": found})


async def sessions(hub: Hub, asked: Asked) -> Reply:
    """The list."""
    found = serving_look.sessions(hub.serving, asked.me.person, asked.text("q"), asked.text("state", 40))
    return told({"sessions": found})


async def repositories(hub: Hub, asked: Asked) -> Reply:
    """The projects."""
    return told({"repositories": serving_act.repositories(hub.serving, asked.me.person)})


async def services(hub: Hub, asked: Asked) -> Reply:
    """The services files."""
    return told({"services": serving_act.services(hub.serving, asked.me.person)})


async def session(hub: Hub, asked: Asked) -> Reply:
    """One session."""
    found = await serving_look.session(hub.serving, asked.me.person, asked.session)
    here = {one.login.person.id for one in hub.watchers.get(asked.session, ())}
    found["people"] = [{**p, "here": p["id"] in here} for p in found["people"]]
    return told(found)


async def events(hub: Hub, asked: Asked) -> Reply:
    """Events after a position."""
    after, limit = asked.number("after", 0), asked.number("limit", 500, serving_look.EVENTS_MAX)
    found, last, more = await serving_look.events(hub.serving, asked.me.person, asked.session, after, limit)
    return told({"events": found, "last": last, "more": more})


async def findings(hub: Hub, asked: Asked) -> Reply:
    """Findings."""
    upto = asked.number("upto", 0)
    found = await serving_look.findings(hub.serving, asked.me.person, asked.session, upto)
    return told({"findings": found})


async def diff(hub: Hub, asked: Asked) -> Reply:
    """The diff, as text."""
    text = await serving_diff.diff(hub.serving, asked.me.person, asked.session, asked.number("upto", 0))
    return Reply(body=text.encode("utf-8", "replace"), kind=b"text/x-diff; charset=utf-8")


async def proof(hub: Hub, asked: Asked) -> Reply:
    """An inclusion proof."""
    seq = max(1, asked.number("seq", 1))
    return told(await serving_look.proof(hub.serving, asked.me.person, asked.session, seq))


async def proofs(hub: Hub, asked: Asked) -> Reply:
    """Inclusion proofs of many events."""
    after, limit = asked.number("after", 0), asked.number("limit", 100, serving_look.PROOFS_MAX)
    return told(await serving_look.proofs(hub.serving, asked.me.person, asked.session, after, limit))


async def invites(hub: Hub, asked: Asked) -> Reply:
    """The links of a session, without what opens them."""
    serving = hub.serving
    serving.need(asked.me.person, asked.session, May.INVITE)
    now = await serving.now()
    found = [
        {
            "id": i.id, "role": str(i.role), "by": i.by, "expires_at": i.asked_wall_ms + i.expires_s * 1000,
            "live": i.live(now.t_ms, now.wall_ms), "used": len(i.used_by),
        }
        for i in serving.room(asked.session).invites.values()
    ]  # fmt: skip
    return told({"invites": found})


async def approvals(hub: Hub, asked: Asked) -> Reply:
    """The inbox."""
    every = asked.text("all", 1) == "1"
    return told({"approvals": await serving_look.approvals(hub.serving, asked.me.person, every=every)})


async def approval(hub: Hub, asked: Asked) -> Reply:
    """One question."""
    return told(await serving_look.approval(hub.serving, asked.me.person, asked.word("approval")))
