"""Which rules are there? All of them, in one tuple; ids and CWE numbers are forever."""

from veilig.audit.rules import crypto, injection, objects, settings, transport, web
from veilig.audit.rules.rule import Rule

RULES: tuple[Rule, ...] = (
    *injection.RULES,
    *web.RULES,
    *objects.RULES,
    *crypto.RULES,
    *transport.RULES,
    *settings.RULES,
)
BY_ID = {rule.id: rule for rule in RULES}
