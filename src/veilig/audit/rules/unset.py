"""What is the value of a setting when nobody sets it?"""

import ast
import re
from collections.abc import Callable

from veilig.audit.engine.source import dotted


class Unknown:
    """Not decided by the environment alone."""


UNKNOWN = Unknown()
DEPTH_MAX = 12
_ENVIRONMENT = re.compile(r"(^|\.)(environ|env|environment|config|cfg|conf|settings|options|vars)$")
_GETENV = re.compile(r"(^|\.)(getenv|environ\.get)$")
_READERS = re.compile(r"(^|\.)(env|environ|config)(\.(bool|str|int|get|get_value|getboolean|__call__))?$")
_SAME = frozenset(
    {"bool", "int", "str", "strtobool", "to_bool", "as_bool", "parse_bool", "truthy", "str_to_bool"}
)
_TRUE, _FALSE = (
    frozenset({"1", "true", "yes", "on", "y", "t"}),
    frozenset({"0", "false", "no", "off", "n", "f", ""}),
)

type Resolve = Callable[[str], ast.expr | None]


class Reading:
    """One evaluation: `asked` is whether the environment was asked at all."""

    def __init__(self, resolve: Resolve) -> None:
        self.resolve = resolve
        self.asked = False

    def value(self, node: ast.expr, depth: int = 0) -> object:
        """The value with an empty environment, or UNKNOWN."""
        if depth > DEPTH_MAX:
            return UNKNOWN
        match node:
            case ast.Constant():
                return node.value
            case ast.Name():
                given = self.resolve(node.id)
                return UNKNOWN if given is None else self.value(given, depth + 1)
            case ast.Call():
                return self._call(node, depth)
            case ast.UnaryOp(op=ast.Not()):
                inner = self.value(node.operand, depth + 1)
                return UNKNOWN if inner is UNKNOWN else not inner
            case ast.BoolOp():
                return self._either(node, depth)
            case ast.IfExp():
                test = self.value(node.test, depth + 1)
                return (
                    UNKNOWN if test is UNKNOWN else self.value(node.body if test else node.orelse, depth + 1)
                )
            case ast.Compare() if len(node.ops) == 1:
                return self._compare(node, depth)
            case ast.Tuple() | ast.List() | ast.Set():
                items = [self.value(item, depth + 1) for item in node.elts]
                return UNKNOWN if UNKNOWN in items else tuple(items)
            case _:
                return UNKNOWN

    def _either(self, node: ast.BoolOp, depth: int) -> object:
        result: object = UNKNOWN
        for item in node.values:
            result = self.value(item, depth + 1)
            if result is UNKNOWN or bool(result) is isinstance(node.op, ast.Or):
                return result
        return result

    def _compare(self, node: ast.Compare, depth: int) -> object:
        right = node.comparators[0]
        if isinstance(node.ops[0], ast.In | ast.NotIn) and re.search(r"(^|\.)environ$", dotted(right)):
            self.asked = True
            return isinstance(node.ops[0], ast.NotIn)
        one, two = self.value(node.left, depth + 1), self.value(right, depth + 1)
        if one is UNKNOWN or two is UNKNOWN:
            return UNKNOWN
        match node.ops[0]:
            case ast.Eq() | ast.Is():
                return one == two
            case ast.NotEq() | ast.IsNot():
                return one != two
            case ast.In() | ast.NotIn() if isinstance(two, tuple | str):
                inside = one in two if isinstance(two, tuple) else isinstance(one, str) and one in two
                return inside is isinstance(node.ops[0], ast.In)
            case _:
                return UNKNOWN

    def _call(self, node: ast.Call, depth: int) -> object:
        name = dotted(node.func)
        owner, _, last = name.rpartition(".")
        default = next((k.value for k in node.keywords if k.arg == "default"), None)
        if _GETENV.search(name) or (last == "get" and _ENVIRONMENT.search(owner)):
            self.asked = True
            default = node.args[1] if len(node.args) > 1 else default
            return None if default is None else self.value(default, depth + 1)
        if default is not None and _READERS.search(name):
            self.asked = True
            return self.value(default, depth + 1)
        if last in _SAME and len(node.args) == 1 and not node.keywords:
            inner = self.value(node.args[0], depth + 1)
            if inner is UNKNOWN or isinstance(inner, tuple):
                return UNKNOWN
            if last not in ("bool", "str") and isinstance(inner, str):
                low = inner.lower()
                return low in _TRUE if low in _TRUE | _FALSE else UNKNOWN
            return str(inner) if last == "str" else bool(inner)
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("lower", "upper", "strip", "casefold"):
            inner = self.value(node.func.value, depth + 1)
            if isinstance(inner, str):
                return {"lower": inner.lower(), "upper": inner.upper()}.get(node.func.attr, inner.strip())
        return UNKNOWN


def when_unset(node: ast.expr, resolve: Resolve) -> object:
    """The value when nothing is set; UNKNOWN too when the environment plays no part in it."""
    reading = Reading(resolve)
    value = reading.value(node)
    return value if reading.asked else UNKNOWN
