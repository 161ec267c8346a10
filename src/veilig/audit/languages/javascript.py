"""What does a script call, with what, and which of its values does a stranger decide? Within one function."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from veilig.audit.languages.grammar import Tree, above, below, field, text_of

if TYPE_CHECKING:
    from tree_sitter import Node

KINDS = (
    *("call_expression", "new_expression", "assignment_expression", "variable_declarator", "pair"),
    *("import_statement", "if_statement", "jsx_attribute"),
)
FUNCTIONS = frozenset(
    {
        *("function_declaration", "function_expression", "arrow_function", "method_definition"),
        *("generator_function", "generator_function_declaration"),
    }
)
STRINGS = frozenset({"string", "number", "true", "false", "null", "undefined", "regex"})
REMOTE = re.compile(
    r"^(?:req|request|ctx\.request|ctx|context\.request|this\.request|event|\w+\.req)\s*\??\.\s*"
    r"(?:query|body|params|param|headers|header|get|cookies|url|originalUrl|path|files?|hostname|rawBody|"
    r"queryStringParameters|pathParameters|multiValueQueryStringParameters|nextUrl|formData|json|text)\b"
)
PAGE = re.compile(
    r"^(?:(?:window|document|self|top)\.)?location\.(?:hash|search|href|pathname)\b|"
    r"^document\.(?:URL|documentURI|referrer|cookie)\b|^window\.name\b"
)
LOCAL = re.compile(r"^process\.argv\b")
SANITISER = re.compile(
    r"(?:^|\.)(?:parseInt|parseFloat|Number|Boolean|BigInt|encodeURIComponent|encodeURI|basename|escape\w*|"
    r"sanitize\w*|sanitise\w*|clean\w*|quote\w*|validate\w*|purify\w*|safe\w*|allow\w*|check\w*|assert\w*|"
    r"is[A-Z]\w*|has|includes|test|hash\w*|createHash|digest|indexOf|ObjectId|toInt\w*|parse\w*Safe|verify\w*)$",
    re.IGNORECASE,
)
CHECK = re.compile(
    r"\.(?:includes|has|test|match|startsWith|endsWith|hasOwnProperty|safeParse)\s*\(|\bin\b|"
    r"\b(?:is|valid|check|verify|allow)\w*\s*\(|[=!]==?|typeof|instanceof",
    re.IGNORECASE,
)
LEAVES = re.compile(r"\b(?:return|throw|continue|break|process\.exit|next\s*\()")


@dataclass(frozen=True, slots=True)
class Call:
    """One call or `new`: its name as the imports make it, and its arguments."""

    name: str
    args: "tuple[Node, ...]"
    node: "Node"

    def arg(self, index: int) -> "Node | None":
        """The argument at this position; None when it is not given."""
        return self.args[index] if index < len(self.args) else None


class Script(Tree):
    """A JavaScript or TypeScript file."""

    def __init__(self, path: str, text: str) -> None:
        """Raises GrammarMissingError and UnreadableError."""
        grammar = "javascript"
        if path.endswith((".ts", ".mts", ".cts")):
            grammar = "typescript"
        elif path.endswith(".tsx"):
            grammar = "tsx"
        kinds = KINDS if grammar != "typescript" else tuple(k for k in KINDS if not k.startswith("jsx"))
        super().__init__(path, text, grammar, kinds)
        self.names = _imported(self)
        self.calls = tuple(self._calls())
        # (function, variable) -> the last values it was given, in reading order
        self.values: dict[tuple[int, str], list[Node]] = {}
        self._note_values()
        self._tainted: dict[int, tuple[int, str] | None] = {}

    def named(self, *names: str) -> Iterator[Call]:
        """Calls of these; a name that begins with a dot is a method of anything."""
        exact = {n for n in names if not n.startswith(".")}
        methods = tuple(n for n in names if n.startswith("."))
        for call in self.calls:
            if call.name in exact or (
                methods and ("." + call.name.rpartition(".")[2]) in methods and "." in call.name
            ):
                yield call

    def tainted(self, node: "Node | None", *, page: bool = False) -> tuple[int, str] | None:
        """Where a stranger's value enters this expression (line, words); None when none is seen to.

        page: what the address of the page says counts, else what a request says. Sanitisers, checks that
        leave the function and comparisons end the way. Within one function and the ones around it.
        """
        return self._origin(node, page, frozenset()) if node is not None else None

    def constant(self, node: "Node | None") -> bool:
        """Whether the expression is made of literals, or of names that only ever held literals."""
        if node is None:
            return True
        for part in below(node):
            if part.type in ("call_expression", "new_expression", "this", "await_expression"):
                return False
            if part.type in ("identifier", "shorthand_property_identifier"):
                values = self._values_of(part)
                if not values or any(v.type not in STRINGS for v in values):
                    return bool(re.fullmatch(r"[A-Z][A-Z0-9_]+", text_of(part)))
            elif part.type == "member_expression":
                last = text_of(field(part, "property"))
                return bool(re.fullmatch(r"[A-Z][A-Z0-9_]+", last))
        return True

    def built(self, node: "Node | None") -> bool:
        """Whether a text is put together from parts that are not all constant."""
        if node is None:
            return False
        if node.type == "identifier":
            return any(self.built(v) for v in self._values_of(node) if v.type != "identifier")
        if node.type == "template_string":
            return any(not self.constant(c) for c in node.named_children if c.type == "template_substitution")
        if node.type == "binary_expression" and text_of(field(node, "operator")) == "+":
            return not self.constant(node) and any(
                p.type in ("string", "template_string") for p in below(node)
            )
        return False

    def option(self, node: "Node | None", key: str) -> "Node | None":
        """The value of a key in an object literal, or in the literal a name stands for."""
        for holder in self._objects(node):
            for pair in holder.named_children:
                if pair.type == "pair" and text_of(field(pair, "key")).strip("'\"") == key:
                    return field(pair, "value")
                if pair.type == "shorthand_property_identifier" and text_of(pair) == key:
                    return pair
        return None

    def has_object(self, node: "Node | None") -> bool:
        """Whether the options are a literal that can be looked into."""
        return any(True for _ in self._objects(node))

    def texts_of(self, name: "Node") -> "list[Node]":
        """The values that a name was given, in the function it stands in or one around it."""
        return self._values_of(name)

    def _objects(self, node: "Node | None") -> "Iterator[Node]":
        if node is None:
            return
        if node.type == "object":
            yield node
        elif node.type == "identifier":
            yield from (v for v in self._values_of(node) if v.type == "object")

    def _calls(self) -> Iterator[Call]:
        for node in self.of("call_expression", "new_expression"):
            callee = field(node, "function") or field(node, "constructor")
            given = field(node, "arguments")
            args = given.named_children if given is not None and given.type == "arguments" else []
            name = self.qualified(
                text_of(callee) if callee is not None and callee.end_byte - callee.start_byte < 200 else ""
            )
            yield Call(name, tuple(a for a in args if a.type != "comment"), node)

    def qualified(self, name: str) -> str:
        """The dotted name with its first part as imported."""
        name = re.sub(r"\s+|\?", "", name)
        inline = re.match(r"require\(['\"](?:node:)?([^'\"]+)['\"]\)", name)
        if inline:
            return inline[1] + name[inline.end() :]
        name = re.sub(r"\.\w+\([^()]*\)", "", name)  # res.status(400).send is what res.send is
        first, dot, rest = name.partition(".")
        return self.names.get(first, first) + dot + rest

    def _note_values(self) -> None:
        for node in self.of("variable_declarator", "assignment_expression"):
            target = field(node, "name") or field(node, "left")
            value = field(node, "value") or field(node, "right")
            if target is None or value is None:
                continue
            scope = scope_of(node)
            if target.type in ("object_pattern", "array_pattern"):
                for part in below(target):
                    if part.type in ("identifier", "shorthand_property_identifier_pattern"):
                        self.values.setdefault((scope, text_of(part)), []).append(value)
            elif target.type == "identifier":
                self.values.setdefault((scope, text_of(target)), []).append(value)

    def _values_of(self, name: "Node") -> "list[Node]":
        text = text_of(name)
        for scope in _scopes(name):
            found = self.values.get((scope, text))
            if found:
                return found
        return []

    def _origin(self, node: "Node", page: bool, seen: frozenset[str]) -> tuple[int, str] | None:
        stack: list[Node] = [node]
        count = 0
        while stack and count < 2_000:
            item = stack.pop()
            count += 1
            kind = item.type
            if kind in FUNCTIONS or kind in STRINGS:
                continue
            if kind == "call_expression":
                name = text_of(field(item, "function"))
                if SANITISER.search(name) and not REMOTE.match(name):
                    continue
            if kind == "binary_expression" and text_of(field(item, "operator")) in (
                *("===", "!==", "==", "!=", "<", ">", "<=", ">=", "in", "instanceof", "-", "*", "/", "%"),
            ):
                continue
            if kind == "ternary_expression":
                stack.extend(
                    c for c in (field(item, "consequence"), field(item, "alternative")) if c is not None
                )
                continue
            if kind == "subscript_expression":
                held = field(item, "object")  # a table's entry is as safe as the table
                if held is not None:
                    stack.append(held)
                continue
            if kind in ("member_expression", "call_expression"):
                found = self._entering(item, page)
                if found is not None:
                    return found
                if kind == "member_expression" and text_of(field(item, "property")) == "length":
                    continue
            if kind in ("identifier", "shorthand_property_identifier"):
                found = self._variable(item, page, seen)
                if found is not None:
                    return found
                continue
            stack.extend(reversed(item.named_children))
        return None

    def _entering(self, item: "Node", page: bool) -> tuple[int, str] | None:
        text = " ".join(text_of(item)[:80].split())
        pattern = PAGE if page else REMOTE
        if not pattern.match(text) or self._guarded(item, text_of(item)):
            return None
        return item.start_point[0] + 1, text

    def _variable(self, item: "Node", page: bool, seen: frozenset[str]) -> tuple[int, str] | None:
        name = text_of(item)
        if name in seen or len(seen) > 6 or self._guarded(item, name):
            return None
        for value in self._values_of(item):
            found = self._origin(value, page, seen | {name})
            if found is not None:
                return found
        return None

    def _guarded(self, use: "Node", name: str) -> bool:
        """Whether a check of this name decides that the use is reached."""
        word = re.compile(rf"(?<![\w.$]){re.escape(name)}(?![\w$])")
        scope = scope_of(use)
        for around in above(use):
            if around.type in ("if_statement", "ternary_expression"):
                asked = text_of(field(around, "condition"))
                if word.search(asked) and CHECK.search(asked):
                    return True
        for test in self.of("if_statement"):
            if test.end_byte > use.start_byte or scope_of(test) != scope:
                continue
            asked = text_of(field(test, "condition"))
            if (
                word.search(asked)
                and CHECK.search(asked)
                and LEAVES.search(text_of(field(test, "consequence")))
            ):
                return True
        return False


def scope_of(node: "Node") -> int:
    """The function a node stands in, by where it begins; -1 for the file itself."""
    return next(_scopes(node))


def _scopes(node: "Node") -> Iterator[int]:
    for around in above(node):
        if around.type in FUNCTIONS:
            yield around.start_byte
    yield -1


def _imported(script: Script) -> dict[str, str]:
    """Local name -> what was imported under it, dotted."""
    names: dict[str, str] = {}
    for node in script.of("import_statement"):
        module = text_of(field(node, "source")).strip("'\"").removeprefix("node:")
        for part in below(node):
            if part.type == "import_specifier":
                original = text_of(field(part, "name"))
                names[text_of(field(part, "alias")) or original] = f"{module}.{original}"
            elif part.type in ("namespace_import", "import_clause"):
                for name in part.named_children:
                    if name.type == "identifier":
                        names[text_of(name)] = module
    for node in script.of("variable_declarator"):
        value, target = field(node, "value"), field(node, "name")
        match = re.fullmatch(
            r"(?:await\s+)?(?:require|import)\(\s*['\"](?:node:)?([^'\"]+)['\"]\s*\)((?:\.\w+)*)",
            text_of(value)[:200],
        )
        if match is None or target is None:
            continue
        module = match[1] + match[2]
        if target.type == "identifier":
            names[text_of(target)] = module
            continue
        for part in below(target):
            if part.type == "shorthand_property_identifier_pattern":
                names[text_of(part)] = f"{module}.{text_of(part)}"
            elif part.type == "pair_pattern":
                names[text_of(field(part, "value"))] = f"{module}.{text_of(field(part, 'key'))}"
    return names
