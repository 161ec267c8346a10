"""What does a line of a log speak of? Fixed patterns for the words that languages and servers use.

A line is data. It is matched, cut and shown; it never chooses what is done, and a line that sounds like an
instruction is one of no kind. The first kind that fits wins: the most specific words come first.
"""

import re
from collections.abc import Callable

from veilig.core.signal import LogKind

LINE_CHARS = 4096  # of a line, before secrets are taken out; what follows is not read

_HOST = r"(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+)"
_ADDRESS = re.compile(rf"(?<![\w.])({_HOST}):(\d{{1,5}})(?!\w|:\w|\.\d)")
_HOST_PORT = re.compile(r"host[=: ]+'?\"?([\w.-]+)'?\"?[ ,;]+port[=: ]+'?\"?(\d{1,5})", re.IGNORECASE)
_TUPLE = re.compile(r"\('([\w.:]+)', (\d{1,5})\)")
_QUOTED_HOST_PORT = re.compile(r"server at \"([\w./-]+)\"(?: \([\w.:]+\))?, port (\d{1,5})")
_PORT = re.compile(r"(?:port|listen\w*|bind\w*|address|:)[^\d\n]{0,24}(\d{2,5})\b", re.IGNORECASE)
_PATH = re.compile(r"(?<![\w:/.])['\"`(\[]?((?:\.{0,2}/)?(?:[\w.@+-]+/)*[\w@+-]+(?:\.[\w@+-]+)+)")
_ABSOLUTE = re.compile(r"(?<![\w:/.])(/(?:[\w.@+ -]+/)*[\w.@+-]+)")
_QUOTED = re.compile(r"['\"`‘“]([^'\"`’”]{1,120})['\"`’”]")
_WORD_AFTER = re.compile(
    r"(?:module|package|symbol|class|variable|key|setting|option|field)s?:? (\S{1,80})", re.IGNORECASE
)


def _address(line: str) -> str:
    for pattern in (_QUOTED_HOST_PORT, _HOST_PORT, _TUPLE, _ADDRESS):
        for host, port in pattern.findall(line):
            named = any(c.isalpha() for c in host) or host.count(".") == 3 or host.startswith("[")
            if named and 0 < int(port) <= 65535 and not host.endswith((".py", ".js", ".rb", ".go", ".java")):
                return f"{host}:{port}"
    return ""


def _port(line: str) -> str:
    address = _address(line)
    if address:
        return address.rpartition(":")[2]
    found = _PORT.search(line)
    return found.group(1) if found else ""


def _path(line: str) -> str:
    for pattern in (_ABSOLUTE, _PATH):
        found = pattern.search(line)
        if found:
            return found.group(1).rstrip(".")
    return ""


def _quoted(line: str) -> str:
    found = _QUOTED.search(line) or _WORD_AFTER.search(line)
    return found.group(1) if found else ""


def _named(line: str) -> str:
    return _path(line) or _quoted(line)


def _word(line: str) -> str:
    return _quoted(line) or _path(line)


# One phrase a line, in lower case: of the C library, Python, Node, Java, Go, Ruby, PHP, Rust, .NET, nginx,
# PostgreSQL, MySQL, Redis. Each has a literal part outside its groups; only lines that hold it are searched.
_DISK = r"""
no space left on device
\benospc\b
disk (?:is )?full
quota exceeded
\bedquot\b
not enough (?:disk )?space
no (?:free |more )?disk space
out of disk
read-only file ?system
\berofs\b
unable to persist
could not extend file
\berrno 28\b
"""
_PORT_WORDS = r"""
address (?:is )?already in use
address in use
\beaddrinuse\b
\berrno (?:98|48)\b
port \S{0,12} ?(?:is |was )?(?:already )?(?:in use|taken|allocated|occupied|used)
could not bind
failed to bind
failed to listen
cannot bind
unable to bind
\bbind(?:\(\)|ing)?:? (?:to \S+ )?failed
only one usage of each socket address
bindexception
"""
_MEMORY = r"""
out of memory
\bmemoryerror\b
outofmemory
cannot allocate memory
\benomem\b
allocation failed
java heap space
gc overhead limit
oom[- ]?kill
killed process \d+
bad_alloc
allowed memory size of
failed to allocate memory
\bnomemoryerror\b
"""
_DEADLOCK = r"""
\bdeadlock(?:ed)?\b(?! (?:free|detector (?:started|enabled)))
all goroutines are asleep
lock wait timeout
no live threads left
"""
_DEPENDENCY = r"""
connection ?refused
\beconnrefused\b
\berrno 111\b
name or service not known
temporary failure in name resolution
\benotfound\b
\beai_again\b
getaddrinfo
nodename nor servname
no such host
host not found in upstream
unknown ?host
could not resolve
no route to host
\behostunreach\b
\benetunreach\b
network is unreachable
could not connect
cannot connect
can't connect
unable to connect
failed to connect
connect(?:ion)? (?:to \S+ )?(?:failed|timed ?out|error)
\betimedout\b
dial tcp
upstream (?:timed out|prematurely)
no live upstreams
http error 50[234]
bad gateway
gateway time-?out
server closed the connection
lost connection
connection (?:was )?reset by
\beconnreset\b
\bmaxretryerror\b
\bdependency \S{0,40} ?(?:is )?(?:down|unavailable|unreachable|not ready|failed)
(?:database|\bdb|redis|broker|upstream|backend|cache|queue)\b.{0,30}\bunavailable\b
(?:database|\bdb|redis|broker|upstream|backend|cache|queue)\b.{0,30}\bunreachable\b
(?:database|\bdb|redis|broker|upstream|backend|cache|queue)\b.{0,30}\bis down\b
(?:database|\bdb|redis|broker|upstream|backend|cache|queue)\b.{0,30}\bnot (?:reachable|available|ready)\b
server has gone away
the database system is (?:starting up|shutting down)
"""
_CODE = r"""
modulenotfounderror
\bimporterror\b
no module named
cannot find (?:module|package)
module_not_found
\bsyntaxerror\b(?!.{0,60}\bjson\b)
\bindentationerror\b
\bnameerror\b
noclassdeffounderror
classnotfoundexception
nosuchmethod
nosuchfielderror
unsupportedclassversionerror
could not find or load main class
undefined symbol
symbol lookup error
cannot open shared object file
error while loading shared libraries
exec format error
cannot load such file
undefined (?:local variable or )?method
call to undefined function
parse error: syntax error
missing module
unable to access jarfile
\breferenceerror\b
is not a function\b
\battributeerror\b
command not found
can't open file
: not found$
"""
_CONFIG = r"""
jsondecodeerror
json\.decoder
yamlerror
yaml\.(?:scanner|parser|composer|constructor)
tomldecodeerror
configparser\.
sectionheadererror
nooptionerror
nosectionerror
unexpected token .{0,60}json
unexpected end of json
expected property name
bad control character in string literal
invalid character .{1,40}looking for
cannot unmarshal
\bjson:
\byaml: (?:line|unmarshal)
\btoml:
failed to parse
error parsing
parse error in
could not parse
cannot parse
unable to parse
\binvalid (?:json|yaml|toml|ini|config\w*|setting|option|value for)
\bconfig\w*\b.{0,60}\b(?:invalid|error|malformed|corrupt\w*|missing|not found|unreadable|failed)
\bsettings?\b.{0,60}\b(?:invalid|error|malformed|corrupt\w*|missing|not found|unreadable|failed)
(?:invalid|malformed|bad|broken|missing|unknown|unrecognized|unsupported) (?:\S+ )?config
(?:invalid|malformed|bad|broken|missing|unknown|unrecognized|unsupported) (?:\S+ )?setting
(?:invalid|unknown|unrecognized|unsupported) (?:\S+ )?directive
error in config
\bemerg\b
unexpected "?[}\w;]"? in \S+:\d
\bmissing (?:required )?(?:env\w*|key|option|field|variable|setting)
variable \S+ (?:is )?(?:not set|unset|missing|required)
is required but
\bvalidationerror\b
\brequired (?:key|field|setting|option)\b
unrecognized configuration parameter
"""
_PERMISSION = r"""
permission denied
\beacces\b
\beperm\b
operation not permitted
permissionerror
access (?:is )?denied
accessdeniedexception
not permitted to
"""
_OTHER = r"""
error
exception\b
\bfatal\b
\bpanic
\bcritical\b
segmentation fault
core dumped
\baborted\b
\bunhandled\b
\buncaught\b
\bassert\b
\bassertion failed\b
"""


def _literal(phrase: str) -> str:
    """The longest run of plain characters that every match of the phrase holds."""
    flat = phrase
    while "(" in flat and (inner := re.sub(r"(?<!\\)\((?:[^()\\]|\\.)*\)[?*]?", "\0", flat)) != flat:
        flat = inner
    flat = re.sub(r"\\[.\[\]()]", lambda found: found.group()[1], re.sub(r"\\[bswdSWD][?*+]?", "\0", flat))
    flat = re.sub(r"\[[^]]*\][?*+]?|.(?:[?*+]|\{\d+,\d+\})|\$", "\0", flat)
    return max(flat.split("\0"), key=len)


type _Phrases = tuple[tuple[str, re.Pattern[str]], ...]


def _phrases(text: str) -> _Phrases:
    return tuple((_literal(phrase), re.compile(phrase)) for phrase in text.strip().split("\n"))


def _nothing(_line: str) -> str:
    return ""


KINDS: tuple[tuple[LogKind, _Phrases, Callable[[str], str]], ...] = (
    (LogKind.DISK, _phrases(_DISK), _path),
    (LogKind.PORT, _phrases(_PORT_WORDS), _port),
    (LogKind.MEMORY, _phrases(_MEMORY), _nothing),
    (LogKind.DEADLOCK, _phrases(_DEADLOCK), _nothing),
    (LogKind.DEPENDENCY, _phrases(_DEPENDENCY), _address),
    (LogKind.CODE, _phrases(_CODE), _word),
    (LogKind.CONFIG, _phrases(_CONFIG), _named),
    (LogKind.PERMISSION, _phrases(_PERMISSION), _path),
    (LogKind.OTHER, _phrases(_OTHER), _quoted),
)
_FINE = re.compile(
    r"\b(?:0|no|without) (?:errors?|exceptions?)\b"
    r"|\berrors?[=: ]+(?:0|none|null|false)\b|\berror_(?:log|page)\b"
)
_FRAME = re.compile(r"\s+(?:at .{1,300}:\d+\)?$|at \S+\(|File \"|from \S+:\d+)|\s*Traceback \(most recent")


def is_frame(line: str) -> bool:
    """A line of a traceback that names a place in code; what went wrong stands elsewhere."""
    return _FRAME.match(line) is not None


def kind_of(line: str) -> tuple[LogKind, str] | None:
    """What the line speaks of and what it names ("" when nothing); None when it tells of no trouble."""
    line = line[:LINE_CHARS]
    low = line.lower().rstrip()
    for kind, phrases, named in KINDS:
        if any(literal in low and pattern.search(low) for literal, pattern in phrases):
            if is_frame(line) or (kind == LogKind.OTHER and _FINE.search(low)):
                return None
            return kind, named(line)
    return None
