"""Which weaknesses show in the shape of the code alone: decorators, handlers, patterns?"""

from veilig.audit.detect import Detector, Hit
from veilig.audit.engine.program import Program
from veilig.audit.engine.run import mistake
from veilig.audit.engine.source import ModuleInfo
from veilig.audit.finding import Incomplete
from veilig.audit.rules.rule import Rule
from veilig.audit.rules.sketch import sketch


def look_at_shapes(
    module: ModuleInfo, detector: Detector, rules: tuple[Rule, ...], program: Program | None = None
) -> list[Incomplete]:
    """Add what the tree of one module shows without following values; `program`: what it belongs to.

    Returns what could not be looked at, with the reason.
    """
    incomplete: list[Incomplete] = []
    outline = sketch(module, program)
    for rule in rules:
        if rule.shape is None:
            continue
        try:
            for node, confidence in rule.shape(outline):
                detector.add(Hit(rule, module.path, "", node, rule.what, rule.severity, confidence, ()))
        except Exception as error:  # noqa: BLE001  # our own mistake must not cost the other rules, and must be seen
            incomplete.append(Incomplete(module.path, rule.id, mistake(error)))
    return incomplete
