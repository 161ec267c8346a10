"""Which rules are there? All of them, in one tuple; ids and CWE numbers are forever."""

from veilig.audit.rules import (
    access,
    browser,
    credentials,
    crypto,
    exposure,
    failures,
    injection,
    keys,
    logins,
    markup,
    objects,
    passwords,
    races,
    resources,
    settings,
    supply,
    transport,
    trust,
    web,
)
from veilig.audit.rules.rule import Rule

RULES: tuple[Rule, ...] = (
    *injection.RULES,
    *web.RULES,
    *objects.RULES,
    *crypto.RULES,
    *transport.RULES,
    *settings.RULES,
    *failures.RULES,
    *access.RULES,
    *passwords.RULES,
    *browser.RULES,
    *keys.RULES,
    *credentials.RULES,
    *resources.RULES,
    *exposure.RULES,
    *supply.RULES,
    *trust.RULES,
    *races.RULES,
    *logins.RULES,
    *markup.RULES,
)
BY_ID = {rule.id: rule for rule in RULES}
