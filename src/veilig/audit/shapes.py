"""Which weaknesses show in the shape of the code alone: decorators, handlers, patterns?"""

import ast

from veilig.audit.detect import Detector, Hit
from veilig.audit.engine.source import ModuleInfo, dotted
from veilig.audit.finding import Confidence
from veilig.audit.rules.rule import Rule


def look_at_shapes(module: ModuleInfo, detector: Detector, rules: tuple[Rule, ...]) -> None:
    """Add what the tree of one module shows without following values."""
    by_id = {rule.id: rule for rule in rules}
    swallowed, unprotected = by_id.get("swallowed-exception"), by_id.get("csrf-disabled")
    for handler in module.handlers if swallowed is not None else ():
        if swallowed is not None and _swallows(handler):
            _add(detector, module, handler, swallowed, Confidence.PATTERN)
    for node in module.decorated if unprotected is not None else ():
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        for decorator in node.decorator_list:
            if unprotected is not None and _exempts(decorator):
                _add(detector, module, decorator, unprotected, Confidence.CERTAIN)


def _add(detector: Detector, module: ModuleInfo, node: ast.AST, rule: Rule, confidence: Confidence) -> None:
    detector.add(Hit(rule, module.path, "", node, rule.what, rule.severity, confidence, ()))


def _exempts(decorator: ast.expr) -> bool:
    name = dotted(decorator)
    return name.rpartition(".")[2] == "csrf_exempt" or name.endswith("csrf.exempt")


def _swallows(handler: ast.ExceptHandler) -> bool:
    broad = handler.type is None or dotted(handler.type) in ("Exception", "BaseException")
    return broad and all(
        isinstance(item, ast.Pass | ast.Continue)
        or (isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant))
        for item in handler.body
    )
