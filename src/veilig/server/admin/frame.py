"""What stands around every page: the menu, who is here, what was just done, and forms for acts."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from veilig.access.seats import Duty, Seat
from veilig.app.access import Office
from veilig.server.admin.acts import ACTS, Act, Field
from veilig.server.admin.auth import SignIn
from veilig.server.admin.html import Html, Part, join, tag
from veilig.server.admin.state import State

KEY: Final = "current-password"  # so that a browser may keep it
NAV: Final = (
    ("/", "Waiting"),
    ("/cases", "Cases"),
    ("/subjects", "Subjects"),
    ("/budgets", "Budgets"),
    ("/safeguards", "Safeguards"),
)


@dataclass(frozen=True, slots=True)
class Page:
    """Who looks, where, at what."""

    at: Office
    state: State
    seat: Seat
    sign_in: SignIn
    where: str

    def whole(self, title: str, *parts: Part) -> Html:
        """The page around its parts; what was told is told once."""
        told, self.sign_in.told = self.sign_in.told, []
        here = self.where
        menu = (tag("a", name, href=to, aria_current="page" if _inside(here, to) else "") for to, name in NAV)
        who = tag("span", f"{self.seat.person}, {self.seat.duty}", cls="who")
        out = tag("form", self._hidden(), tag("button", "Sign out"), method="post", action="/sign-out")
        head = tag(
            "header", tag("a", "Skip to content", href="#main", cls="skip"), tag("nav", *menu), who, out
        )
        main = tag("main", *told, tag("h1", title), *parts, id="main", tabindex="-1")
        return document(title, head, main)

    def form(
        self,
        name: str,
        given: dict[str, str],
        note: str = "",
        known: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    ) -> Html:
        """A form for one act; fields in `given` are settled, those in `known` chosen among these.

        A line instead, where this seat may not.
        """
        act = ACTS[name]
        if self.seat.duty is not Duty.ADMIN and not act.reviewer:
            return tag("p", f"{act.button}: takes a seat with the duty admin", cls="none")
        fields = (_field(act, f, given.get(f.name), known.get(f.name, f.choices)) for f in act.fields)
        return tag(
            "form", self._hidden(), *fields, tag("button", act.button), note,
            method="post", action=f"/act/{name}", cls="act",
        )  # fmt: skip

    def _hidden(self) -> Html:
        return join(
            (
                tag("input", type="hidden", name="csrf", value=self.sign_in.csrf),
                tag("input", type="hidden", name="back", value=self.where),
            )
        )


def document(title: str, *parts: Part) -> Html:
    """A whole HTML document."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{title} - veilig"),
        tag("link", rel="stylesheet", href="/style.css"),
    )
    return join((Html("<!doctype html>"), tag("html", head, tag("body", *parts), lang="en")))


def sign_in_page(why: str) -> Html:
    """Where somebody gives the key of their seat."""
    told = tag("p", why, cls="told wrong", role="alert") if why else None
    form = tag(
        "form",
        tag("label", "Key of your seat", for_="key"),
        tag("input", type="password", name="key", id="key", required=True, autofocus=True, autocomplete=KEY),
        tag("button", "Sign in"),
        method="post", action="/sign-in", cls="act",
    )  # fmt: skip
    help_ = tag("p", "An administrator makes one: ", tag("code", "veilig access seat new PERSON"), cls="none")
    return document("Sign in", tag("main", tag("h1", "veilig gateway"), told, form, help_, cls="narrow"))


def _inside(here: str, to: str) -> bool:
    return here == to or (to != "/" and here.startswith(f"{to}/"))


def _field(act: Act, field: Field, settled: str | None, choices: tuple[str, ...]) -> Html:
    name = f"{act.name}-{field.name}".replace(".", "-")
    if settled is not None:
        return tag("input", type="hidden", name=field.name, value=settled)
    if choices:  # nothing is chosen beforehand: a hurried click decides nothing
        first = Html('<option value="" disabled selected>choose</option>')
        options = (tag("option", c, value=c) for c in choices)
        box = tag("select", first, *options, name=field.name, id=name, required=True)
    else:
        days = field.name == "days"
        box = tag(
            "input", name=field.name, id=name, type="text", inputmode="decimal" if field.number else "",
            required=not field.optional, value=field.hint if days else "", size="6" if field.number else "",
            placeholder="" if days else field.hint, autocomplete="off", cls="long" if field.long else "",
        )  # fmt: skip
    return tag("label", tag("span", field.label), box, for_=name)
