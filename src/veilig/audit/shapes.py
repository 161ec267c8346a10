"""Which weaknesses show in the shape of the code alone: decorators, handlers, patterns?"""

from veilig.audit.detect import Detector, Hit
from veilig.audit.engine.source import ModuleInfo
from veilig.audit.rules.rule import Rule
from veilig.audit.rules.sketch import sketch


def look_at_shapes(module: ModuleInfo, detector: Detector, rules: tuple[Rule, ...]) -> None:
    """Add what the tree of one module shows without following values."""
    outline = sketch(module)
    for rule in rules:
        if rule.shape is None:
            continue
        for node, confidence in rule.shape(outline):
            detector.add(Hit(rule, module.path, "", node, rule.what, rule.severity, confidence, ()))
