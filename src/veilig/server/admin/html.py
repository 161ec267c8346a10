"""How is a page written so that no value can become markup? Tags are functions, and text is escaped."""

from collections.abc import Iterable, Sequence
from html import escape


class Html(str):
    """Markup that is safe as it is."""

    __slots__ = ()


type Part = str | Html | None


def tag(name: str, /, *parts: Part, **attributes: str | bool) -> Html:
    """One element. Attributes: True stands alone, False and "" are left out, `cls` is class, `_` is `-`."""
    said = "".join(_attribute(k, v) for k, v in attributes.items() if v)
    inner = join(parts)
    return Html(
        f"<{name}{said}>" if name in ("input", "meta", "link", "br") else f"<{name}{said}>{inner}</{name}>"
    )


def _attribute(name: str, value: str | bool) -> str:
    name = {"cls": "class", "for_": "for"}.get(name, name.replace("_", "-"))
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'


def join(parts: Iterable[Part], between: str = "") -> Html:
    """Parts one after another; text among them is escaped."""
    return Html(escape(between).join(p if isinstance(p, Html) else escape(p) for p in parts if p is not None))


def link(where: str, text: str) -> Html:
    """A link to a page of ours."""
    return tag("a", text, href=where)


def table(head: Sequence[str], rows: Sequence[Sequence[Part]], empty: str) -> Html:
    """Rows below a head; `empty` where there is none."""
    if not rows:
        return tag("p", empty, cls="none")
    titles = (tag("th", h, scope="col") for h in head)
    cells = (tag("tr", *(tag("td", c) for c in row)) for row in rows)
    made = tag("table", tag("thead", tag("tr", *titles)), tag("tbody", *cells))
    return tag("div", made, cls="wide", tabindex="0")


def facts(pairs: Sequence[tuple[str, Part]]) -> Html:
    """What a thing is, as names with values."""
    return tag("dl", *(join((tag("dt", name), tag("dd", value or "-"))) for name, value in pairs))


def badge(word: str) -> Html:
    """A state; its colour repeats what the word says."""
    return tag("span", word, cls=f"state {''.join(c for c in word if c.isalnum())}")
