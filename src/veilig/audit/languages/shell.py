"""Which commands does a shell script run, with which words?"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from veilig.audit.languages.grammar import Tree, above, below, field, text_of

if TYPE_CHECKING:
    from tree_sitter import Node

KINDS = ("command", "variable_assignment", "redirected_statement", "pipeline", "test_command")
WRAPPERS = frozenset({"sudo", "exec", "nohup", "time", "env", "command", "nice", "doas"})


@dataclass(frozen=True, slots=True)
class Command:
    """One simple command; `name` is without its path and without `sudo` and the like before it."""

    name: str
    words: tuple[str, ...]
    args: "tuple[Node, ...]"
    node: "Node"

    def has(self, *options: str) -> bool:
        """Whether one of these words is given; a single letter option also inside a bundle such as -sSk."""
        for word in self.words:
            for option in options:
                if word == option or word.startswith(f"{option}="):
                    return True
                letter = re.fullmatch(r"-([A-Za-z0-9])", option)
                if letter and re.fullmatch(r"-[A-Za-z0-9]+", word) and letter[1] in word:
                    return True
        return False


class Shell(Tree):
    """A shell script."""

    def __init__(self, path: str, text: str) -> None:
        """Raises GrammarMissingError and UnreadableError."""
        super().__init__(path, text, "bash", KINDS)
        self.commands = tuple(c for c in (_command(n) for n in self.of("command")) if c is not None)

    def named(self, *names: str) -> "tuple[Command, ...]":
        """The commands of these names."""
        return tuple(c for c in self.commands if c.name in names)


def quoted(node: "Node") -> bool:
    """Whether the word is one text whatever its variables hold."""
    if node.type in ("string", "raw_string", "ansi_c_string"):
        return True
    return not any(p.type in ("simple_expansion", "expansion", "command_substitution") for p in below(node))


def expands(node: "Node") -> bool:
    """Whether a variable or a command's output is part of the word."""
    return any(p.type in ("simple_expansion", "expansion", "command_substitution") for p in below(node))


def in_pipeline_after(node: "Node") -> "Node | None":
    """The statement whose output this one reads."""
    for around in above(node):
        if around.type == "pipeline":
            before = [c for c in around.named_children if c.end_byte <= node.start_byte]
            return before[-1] if before else None
        if around.type not in ("redirected_statement", "command"):
            return None
    return None


def _command(node: "Node") -> Command | None:
    name = field(node, "name")
    if name is None:
        return None
    args = [c for c in node.named_children if c.start_byte >= name.end_byte and "redirect" not in c.type]
    parts: list[Node] = [name, *args]
    while len(parts) > 1 and text_of(parts[0]).rpartition("/")[2] in WRAPPERS:
        parts.pop(0)
        while len(parts) > 1 and re.match(r"-|\w+=", text_of(parts[0])):
            parts.pop(0)
    words = tuple(text_of(p) for p in parts)
    return Command(words[0].rpartition("/")[2], words[1:], tuple(parts[1:]), node)
