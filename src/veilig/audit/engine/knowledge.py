"""What must the engine be told about the outside world: sources, sanitisers, validators? Data only."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from veilig.audit.engine.value import OriginKind


@dataclass(frozen=True, slots=True)
class Knowledge:
    """Facts about code that is not in the project, by qualified name ("html.escape") or method
    (".hexdigest")."""

    # qualified name of a value -> who decides it ("sys.argv")
    source_names: Mapping[str, OriginKind] = field(default_factory=dict[str, OriginKind])
    # qualified name or method of a call -> who decides its result
    source_calls: Mapping[str, OriginKind] = field(default_factory=dict[str, OriginKind])
    # values that are a web request, and what of them the client decides
    requests: frozenset[str] = frozenset()
    request_parts: frozenset[str] = frozenset()
    # what the call makes its argument (or receiver) harmless for
    sanitisers: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    # calls that raise unless the argument is harmless for these uses
    validators: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    # conditions: what holds about the argument (or receiver) when the call returns true
    tests: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    # known to hand their arguments on unchanged enough: the flow stays proven
    carriers: frozenset[str] = frozenset()
    # decoders: what was checked before them says nothing about what comes out
    decoders: frozenset[str] = frozenset()
    # known beginning of what a call gives ("tempfile.gettempdir" -> "/tmp/")
    prefixes: Mapping[str, str] = field(default_factory=dict[str, str])
    # values of the standard library that are the same everywhere ("os.pathsep" -> ":")
    constants: Mapping[str, str | int] = field(default_factory=dict[str, str | int])
    # calls after which nothing runs
    endings: frozenset[str] = frozenset()
    # the same thing under another name
    aliases: Mapping[str, str] = field(default_factory=dict[str, str])
    # parameters that are a web request by their name, and base classes whose objects hold one
    request_parameters: frozenset[str] = frozenset()
    handler_bases: Mapping[str, Mapping[str, OriginKind]] = field(
        default_factory=dict[str, Mapping[str, OriginKind]]
    )
    # decorators that make a function answer requests or commands -> who fills its parameters
    entry_decorators: Mapping[str, OriginKind] = field(default_factory=dict[str, OriginKind])
    # annotations that make a parameter harmless for every use
    harmless_types: frozenset[str] = frozenset()
    # names of things that must stay secret: compared as whole words of the identifier
    secret_words: frozenset[str] = frozenset()


def words(text: str) -> list[str]:
    """The words of a table written as running text."""
    return text.split()
