"""Which rules are there? All of them, in one tuple; ids and CWE numbers are forever."""

from veilig.audit.rules import crypto, injection, settings, web
from veilig.audit.rules.rule import Rule

RULES: tuple[Rule, ...] = (*injection.RULES, *web.RULES, *crypto.RULES, *settings.RULES)
BY_ID = {rule.id: rule for rule in RULES}
