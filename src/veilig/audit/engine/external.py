"""What comes back from code that is not in the project, as far as the knowledge tables say?"""

import re
from typing import cast

from veilig.audit.engine.frame import CallSite, Frame, opaque
from veilig.audit.engine.guards import verdict
from veilig.audit.engine.knowledge import Knowledge
from veilig.audit.engine.origins import EACH, NAMES, TEXT_KINDS, decoded, facts_about, part_of
from veilig.audit.engine.probes import found_by, kept_out, removed_by
from veilig.audit.engine.state import MISSING, constant, deep_taints
from veilig.audit.engine.value import (
    EVERY_KIND,
    LITERALS,
    NO_FACTS,
    Facts,
    Opaque,
    OriginKind,
    Ref,
    Seq,
    Taints,
    Value,
    cleaned,
    merge_taints,
    numbered,
    weakened,
)

ENDED = "<never returns>"
PARTS = frozenset({"get", "getlist", "getall", "get_all", "getone", "pop", "getfirst", "getvalue"})
PIECES = frozenset(
    {"split", "rsplit", "splitlines", "partition", "rpartition", "group", "groups", "splitext", "groupdict"}
)
NO_KINDS: frozenset[str] = frozenset()
HOST = frozenset({"url", "redirect"})
SUFFIX_SAFE = frozenset({"path"})
# Keyed tags over a message: the tag itself is harmless text, and still says which message it belongs to.
AUTHENTICATORS = frozenset({"hmac.new", "hmac.digest"})
NUMBERS_READ = frozenset({"struct.unpack", "struct.unpack_from", "int.from_bytes"})
COMPARISONS = frozenset({"hmac.compare_digest", "secrets.compare_digest"})
SIGNED = frozenset({EVERY_KIND, "size"})
# A record or rows of an object-relational mapper: Model.objects.filter, User.query.filter_by().first.
_LOADED = re.compile(
    r"(\.objects\.(get|filter|all|exclude|order_by|values|values_list|first|last|iterator)|"
    r"\.query(\.\w+\(\))*\.(get|get_or_404|first|first_or_404|all|one|one_or_none)|"
    r"\.(scalar_one|scalar_one_or_none|scalars|get_or_404|first_or_404))$"
)
_HOST_END = re.compile(r"\.[\w-]+\.?\w")
# Streams are read by whoever serves a port, and by whoever talks to a child.
STREAMS = frozenset({".readexactly", ".readuntil"})
MATCHERS = frozenset({"match", "fullmatch", "search"})


def call_outside(frame: Frame, callee: Opaque, site: CallSite, *, tell: bool) -> Value:
    """The value of a call into unknown code; `tell` lets the rules look at it first."""
    knowledge = frame.engine.knowledge
    qual, method = callee.qual, "." + site.name if site.receiver is not None else ""
    if tell:
        frame.engine.listener.on_call(frame, site)
    if qual in knowledge.endings:
        return Opaque(ENDED)
    if qual.startswith("re.") and "()" not in qual:
        value = _regex(frame, qual, site)
        if value is not None:
            return value
    elif site.name in MATCHERS or site.name == "sub":
        value = _compiled_regex(frame, site)
        if value is not None:
            return value
    kind = knowledge.source_calls.get(qual) or knowledge.source_calls.get(method)
    if method in STREAMS and "start_server(" not in (frame.module.source or ""):
        kind = None  # a pipe or socket of this machine, or an answer: no stranger's
    if kind is None and method and "request" not in qual and _LOADED.search(qual):
        kind = OriginKind.STORED
    if kind is not None:
        key = constant(site.args[0]) if site.args else ""
        if isinstance(key, str) and site.receiver is not None:
            return opaque(f"{qual}()", frame.source_part(qual, key or "()", kind))
        return opaque(f"{qual}()", frame.source(site.node, kind))
    own = callee.taints
    given: Taints = ()
    for value in (*site.args, *site.kwargs.values()):
        given = merge_taints(given, deep_taints(frame.state, value))
    return _known_result(frame, qual, method, own, given, site)


def _known_result(frame: Frame, qual: str, method: str, own: Taints, given: Taints, site: CallSite) -> Value:
    knowledge = frame.engine.knowledge
    both = merge_taints(own, given)
    result = f"{qual}()"
    kinds = knowledge.sanitisers.get(qual)
    if kinds is None and method:
        kinds = knowledge.sanitisers.get(method)
    if not both and _from_literals(knowledge, qual, site):
        return opaque(LITERALS)
    if qual in AUTHENTICATORS or (qual.startswith("hmac.new()") and method in (".digest", ".hexdigest")):
        return opaque(result, numbered(both))
    if qual in NUMBERS_READ or (method in (".unpack", ".unpack_from") and "struct.Struct" in qual):
        return opaque("struct.unpack()", numbered(both))
    if qual in COMPARISONS and len(site.args) == 2:
        return _compared(frame, both, site)
    if kinds is not None:
        return opaque(result, frame.move(cleaned(both, kinds), site.node, f"passed through {site.name}"))
    proof = knowledge.tests.get(qual) or knowledge.tests.get(method)
    if proof is not None and _asks_itself(frame, qual, site):
        return opaque(result)
    if proof is not None:
        return _test(frame, method, proof, own or given, site)
    if qual in knowledge.validators or method in knowledge.validators:
        checked = knowledge.validators.get(qual) or knowledge.validators[method]
        frame.learn(facts_about(frame, both, checked))
        return opaque(result, cleaned(both, checked))
    if qual in knowledge.decoders or method in knowledge.decoders:
        return opaque(result, decoded(frame, both))
    if method and own:
        if site.name in PARTS:
            part = constant(site.args[0]) if site.args else None
            taken = part_of(frame, own, part if part is not MISSING else None)
            kind = site.kwargs.get("type")
            as_number = isinstance(kind, Opaque) and kind.qual in ("int", "float")
            return opaque(result, numbered(taken) if as_number else taken)
        if site.name in PIECES:
            between = constant(site.args[0]) if site.args else None
            whole = site.name in ("split", "rsplit") and between == "/" and len(site.args) == 1
            return opaque(NAMES if whole else result, part_of(frame, own, None))
        if site.name == "replace":
            return opaque(result, _replaced(own, given, site))
        return opaque(result, both, callee_prefix(site))
    carried = qual in knowledge.carriers or method in knowledge.carriers
    prefix = _prefix(qual, site) if carried else knowledge.prefixes.get(qual, "")
    if not given:
        return opaque(result, (), prefix)
    if carried:
        return opaque(result, frame.move(given, site.node, f"passed through {site.name}"), prefix)
    return opaque(result, frame.move(weakened(given), site.node, f"passed to {site.name or qual}"))


def callee_prefix(site: CallSite) -> str:
    """The known beginning that methods which change nothing at the front keep."""
    kept = site.name in ("encode", "rstrip", "format", "expandtabs") and isinstance(site.receiver, Opaque)
    return site.receiver.prefix if kept and isinstance(site.receiver, Opaque) else ""


def _prefix(qual: str, site: CallSite) -> str:
    """The known beginning of what a carrier makes of its arguments."""
    first = site.args[0] if site.args else None
    known = constant(first)
    if not isinstance(known, str):
        return first.prefix if isinstance(first, Opaque) else ""
    second = site.args[1] if len(site.args) > 1 else None
    if qual == "os.path.join" and known and isinstance(second, Opaque):
        return f"{known.rstrip('/')}/{second.prefix}"
    return known


def _compared(frame: Frame, taints: Taints, site: CallSite) -> Value:
    """A tag that fits: whoever made it holds the key, so what it was computed over is theirs."""
    tagged = any(isinstance(value, Opaque) and "hmac." in value.qual for value in site.args)
    return verdict(facts_about(frame, taints, SIGNED) if tagged else NO_FACTS, NO_FACTS)


def _from_literals(knowledge: Knowledge, qual: str, site: CallSite) -> bool:
    """Whether a known conversion was given one of several literals."""
    if qual not in knowledge.carriers and qual not in knowledge.decoders and qual not in knowledge.sanitisers:
        return False
    return any(isinstance(value, Opaque) and value.qual.startswith(LITERALS) for value in site.args)


def _asks_itself(frame: Frame, qual: str, site: CallSite) -> bool:
    """The list of allowed hosts is made from the very address that is tested."""
    if "allowed_host" not in qual:
        return False
    tested = {taint.origin.label for taint in deep_taints(frame.state, site.arg(0, "url"))}
    hosts = deep_taints(frame.state, site.arg(1, "allowed_hosts"))
    return any(taint.origin.label in tested for taint in hosts)


def _test(frame: Frame, method: str, kinds: frozenset[str], taints: Taints, site: CallSite) -> Value:
    first = constant(site.args[0]) if site.args else MISSING
    held = frame.state.get(site.args[0]) if site.args and isinstance(site.args[0], Ref) else None
    if isinstance(held, Seq):
        first = tuple(constant(item) for item in held.items)
    if method == ".endswith" and _ends_a_host(first):
        # Of a host the end says whose it is, when it begins with a dot; of anything else it says nothing.
        hosts = tuple(
            taint for taint in taints if "url" in frame.engine.grants.get(taint.origin.uid, (0, NO_KINDS))[1]
        )
        return verdict(facts_about(frame, hosts, HOST), NO_FACTS)
    if method == ".endswith":
        kinds = frozenset({f"closes-{first}"}) if first in ("'", '"') else frozenset[str]()
    if method == ".startswith":
        return _starts(frame, taints, first)
    if any(frame.engine.grants.get(taint.origin.uid, (0, None))[1] is EACH for taint in taints):
        kinds = TEXT_KINDS if EVERY_KIND in kinds else kinds
    return verdict(facts_about(frame, taints, kinds), NO_FACTS)


def _ends_a_host(literal: object) -> bool:
    ends: tuple[object, ...] = (literal,)
    if isinstance(literal, tuple):
        ends = cast("tuple[object, ...]", literal)
    return bool(ends) and all(isinstance(end, str) and _HOST_END.match(end) for end in ends)


def _starts(frame: Frame, taints: Taints, literal: object) -> Value:
    """startswith(): a directory proves something only about a normalised path, an address only up to its
    host."""
    held: dict[int, frozenset[str]] = {}
    failed: Facts = NO_FACTS
    for taint in taints:
        kinds: set[str] = set()
        if "normal" in frame.safe_for(taint):
            kinds.add("path")
        if isinstance(literal, str):
            if "://" in literal and literal.count("/") >= 3 and not literal.endswith("//"):
                kinds |= {"url", "redirect"}
            elif literal == "/":
                kinds.add("rooted")
        held.update(facts_about(frame, (taint,), frozenset(kinds)))
        if literal == "//" or (isinstance(literal, tuple) and "//" in literal):
            failed = {**failed, **facts_about(frame, (taint,), frozenset({"not-double"}))}
        elif literal in ("http", "http:", "https:", "http://", "https://"):
            failed = {**failed, **facts_about(frame, (taint,), frozenset({"not-scheme"}))}
        elif literal in ("'", '"'):
            kinds |= {f"opens-{literal}"}
            held.update(facts_about(frame, (taint,), frozenset(kinds)))
        elif literal == "-":
            failed = {**failed, **facts_about(frame, (taint,), frozenset({"argument"}))}
        elif isinstance(literal, tuple) and "=" in literal:
            failed = {**failed, **facts_about(frame, (taint,), frozenset({"csv"}))}
        elif literal in ("/", "..", "."):
            failed = {**failed, **facts_about(frame, (taint,), frozenset({f"not-{literal}"}))}
    return verdict(held, failed)


def _replaced(own: Taints, given: Taints, site: CallSite) -> Taints:
    mark = constant(site.args[0]) if site.args else MISSING
    taints = merge_taints(own, given)
    if mark in ("\n", "\r", "\r\n"):
        return cleaned(taints, ("log", "header"))
    if mark == "'":
        return cleaned(taints, ("xpath",))
    if mark in ("/", "\\/"):
        return cleaned(taints, ("path",))
    if mark == "<":
        return cleaned(taints, ("html",))
    return taints


def _regex(frame: Frame, qual: str, site: CallSite) -> Value | None:
    name = qual.removeprefix("re.")
    pattern = constant(site.args[0]) if site.args else MISSING
    if name == "compile":
        return Opaque("re.compile()", (), pattern if isinstance(pattern, str) else "")
    if not isinstance(pattern, str | bytes):
        return None
    if name in MATCHERS and len(site.args) > 1:
        return _matched(frame, name, pattern, site.args[1])
    if name == "sub" and len(site.args) > 2:
        return _substituted(frame, pattern, site.args[1], site.args[2])
    return None


def _compiled_regex(frame: Frame, site: CallSite) -> Value | None:
    receiver = site.receiver
    if not isinstance(receiver, Opaque) or receiver.qual != "re.compile()" or not receiver.prefix:
        return None
    if site.name in MATCHERS and site.args:
        return _matched(frame, site.name, receiver.prefix, site.args[0])
    if site.name == "sub" and len(site.args) > 1:
        return _substituted(frame, receiver.prefix, site.args[0], site.args[1])
    return None


def _matched(frame: Frame, how: str, pattern: str | bytes, value: Value) -> Value:
    taints = deep_taints(frame.state, value)
    held = facts_about(frame, taints, kept_out(pattern, how))
    failed = facts_about(frame, taints, found_by(pattern)) if how == "search" else NO_FACTS
    return Opaque("re.match()", taints, "", held, failed)


def _substituted(frame: Frame, pattern: str | bytes, by: Value, value: Value) -> Value:
    replacement = constant(by)
    taints = merge_taints(deep_taints(frame.state, value), deep_taints(frame.state, by))
    if isinstance(replacement, str):
        taints = cleaned(taints, removed_by(pattern, replacement))
    return opaque("re.sub()", taints)
