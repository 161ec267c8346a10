"""How is each change that the page asks for made? What may be done is decided in `app` and `collab`."""

import tempfile
from pathlib import Path
from typing import Any, Final

from veilig.app import serving_act, serving_look
from veilig.collab.export import FORMS, exported
from veilig.collab.roles import May, Refused, Role, role_of
from veilig.collab.room import INVITE_S
from veilig.server.asked import Asked
from veilig.server.doorway import cookie_of
from veilig.server.live import Hub
from veilig.server.oidc import COOKIE
from veilig.server.replies import Reply, told

UPLOAD_BYTES_MAX: Final = 64 << 20
EXPORT_EVENTS_MAX: Final = 100_000


async def sign_in(hub: Hub, asked: Asked) -> Reply:
    """A cookie for a name and a password."""
    cookie, login = await hub.serving.sign_in(asked.body["name"], asked.body["password"], asked.address)
    return with_cookie(hub, told({"person": {"id": login.person.id, "name": login.person.name}}), cookie)


def with_cookie(hub: Hub, reply: Reply, cookie: str) -> Reply:
    """The reply with the cookie set, or (empty) removed."""
    line = hub.doorway.cookie(cookie, hub.serving.accounts.login_s if cookie else 0)
    reply.headers.append((b"set-cookie", line.encode()))
    return reply


async def sign_out(hub: Hub, asked: Asked) -> Reply:
    """End this sign-in."""
    accounts = hub.serving.accounts
    await accounts.read(lambda: accounts.log_out(asked.me))
    hub.signed_out(asked.me.key)
    return with_cookie(hub, told({"ok": True}), "")


async def accept(hub: Hub, asked: Asked) -> Reply:
    """Come through a link."""
    serving = hub.serving
    known = asked.login.person if asked.login is not None else None
    person, session, role = await serving.accept(asked.body["token"], asked.body.get("name", ""), known)
    reply = told({"session": session, "role": str(role), "person": {"id": person.id, "name": person.name}})
    if known is not None and known.id == person.id:
        return reply
    cookie, _ = await serving.entered(person, "link")
    return with_cookie(hub, reply, cookie)


async def oidc_start(hub: Hub, asked: Asked) -> Reply:
    """Send the browser to the identity provider."""
    del asked
    if hub.oidc is None:
        raise Refused("no identity provider is set", status=404, fix="sign in with a password")
    place, browser = await hub.oidc.begin()
    line = hub.doorway.passing_cookie(COOKIE, browser)
    return Reply(302, headers=[(b"location", place.encode()), (b"set-cookie", line.encode())])


async def oidc_callback(hub: Hub, asked: Asked) -> Reply:
    """The browser comes back: who is it?"""
    if hub.oidc is None:
        raise Refused("no identity provider is set", status=404)
    if error := asked.text("error"):
        raise Refused("the identity provider said no", status=403, why=error)
    browser = cookie_of(asked.headers.get("cookie", ""), COOKIE)
    state, code = asked.text("state"), asked.text("code", 4000)
    person = await hub.oidc.end(state, code, asked.text("iss", 400), browser)
    cookie, _ = await hub.serving.entered(person, "oidc")
    gone = hub.doorway.passing_cookie(COOKIE, "")
    reply = Reply(302, headers=[(b"location", b"/"), (b"set-cookie", gone.encode())])
    return with_cookie(hub, reply, cookie)


async def start(hub: Hub, asked: Asked) -> Reply:
    """A new session."""
    session = await serving_act.start(hub.serving, asked.me.person, asked.body)
    return told({"id": session, "url": f"/#/sessions/{session}"}, 201)


async def upload(hub: Hub, asked: Asked) -> Reply:
    """A project as an archive."""
    serving_act.repositories(hub.serving, asked.me.person)  # who may not start anything sends nothing
    with tempfile.NamedTemporaryFile(prefix="upload-", dir=hub.serving.home.path) as out:
        size = 0
        while True:
            message: dict[str, Any] = await asked.raw()
            if message["type"] == "http.disconnect":
                raise Refused("the upload broke off", status=400)
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > UPLOAD_BYTES_MAX:
                raise Refused(f"an archive may have {UPLOAD_BYTES_MAX >> 20} MiB", status=413)
            out.write(part)
            if not message.get("more_body"):
                break
        out.flush()
        ident, unpacked = await serving_act.upload(hub.serving, asked.me.person, Path(out.name))
    return told({"upload": ident, "files": unpacked.files, "size_bytes": unpacked.size_bytes}, 201)


async def export(hub: Hub, asked: Asked) -> Reply:
    """The record as this role may see it; that it was taken is recorded first."""
    serving, person = hub.serving, asked.me.person
    role = serving.need(person, asked.session, May.WATCH)
    form = asked.text("format", 20) or "html"
    if form not in FORMS:
        raise Refused(f"{form!r} is no form", status=400, fix=f"one of {', '.join(FORMS)}")
    found: list[dict[str, Any]] = []
    after, more = 0, True
    while more and len(found) < EXPORT_EVENTS_MAX:
        some, after, more = await serving_look.events(serving, person, asked.session, after, 1000)
        found += some
    await serving_act.exported(serving, person, asked.session, form, role)
    summary = serving_look.summary(serving, serving.card(asked.session), role)
    data, kind, name = exported(form, summary, found, str(role), complete=not more)
    disposition = f'attachment; filename="{name}"'.encode()
    return Reply(body=data, kind=kind, headers=[(b"content-disposition", disposition)])


async def say(hub: Hub, asked: Asked) -> Reply:
    """A word to the planner."""
    text, anchor = asked.body["text"], asked.body.get("anchor", 0)
    event = await serving_act.say(hub.serving, asked.me.person, asked.session, text, anchor)
    return told({"seq": event.seq}, 201)


async def comment(hub: Hub, asked: Asked) -> Reply:
    """A remark."""
    text, anchor = asked.body["text"], asked.body.get("anchor", 0)
    event = await hub.serving.comment(asked.me.person, asked.session, text, anchor)
    return told({"seq": event.seq}, 201)


async def control(hub: Hub, asked: Asked) -> Reply:
    """Who drives."""
    act, to = asked.body["act"], asked.body.get("to", "")
    event = await hub.serving.control(asked.me.person, asked.session, act, to)
    return told({"seq": event.seq, "control": hub.serving.room(asked.session).control()})


async def stop(hub: Hub, asked: Asked) -> Reply:
    """Ask it to stop."""
    stopped = await serving_act.stop(hub.serving, asked.me.person, asked.session)
    return told({"asked": stopped})


async def resume(hub: Hub, asked: Asked) -> Reply:
    """Go on."""
    await serving_act.go_on(hub.serving, asked.me.person, asked.session)
    return told({"ok": True}, 202)


async def invite(hub: Hub, asked: Asked) -> Reply:
    """A link; its token is shown this once."""
    role, expires_s = role_of(asked.body["role"]), asked.body.get("expires_s", INVITE_S)
    token, ident = await hub.serving.invite(asked.me.person, asked.session, role, expires_s)
    return told({"id": ident, "token": token, "url": f"/#/join/{token}", "role": str(role)}, 201)


async def uninvite(hub: Hub, asked: Asked) -> Reply:
    """Close a link."""
    await hub.serving.uninvite(asked.me.person, asked.session, asked.word("invite"))
    return told({"ok": True})


async def assign(hub: Hub, asked: Asked) -> Reply:
    """Give or take a role."""
    wanted = asked.body["role"]
    role: Role | None = None if wanted == "none" else role_of(wanted)
    await hub.serving.assign(asked.me.person, asked.session, asked.word("person"), role)
    return told({"ok": True})


async def reveal(hub: Hub, asked: Asked) -> Reply:
    """The value behind a handle, for this one answer."""
    handle, reason = asked.body["handle"], asked.body["reason"]
    value = await serving_act.reveal(hub.serving, asked.me.person, asked.session, handle, reason)
    return told({"handle": handle, "value": value})


async def vote(hub: Hub, asked: Asked) -> Reply:
    """A vote, and the question after it."""
    serving, person, ident = hub.serving, asked.me.person, asked.word("approval")
    session = serving.board.asked.get(ident, "")
    if not session:
        raise Refused("there is no such question", status=404)
    approve, reason = asked.body["verdict"] == "approve", asked.body.get("reason", "")
    await serving_act.vote(serving, person, session, ident, approve=approve, reason=reason)
    return told(await serving_look.approval(serving, person, ident))
