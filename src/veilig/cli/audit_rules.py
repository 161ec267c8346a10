"""Which rules of the user are given to an audit, and do they keep what they promise?"""

import json
import sys
from collections.abc import Sequence

from veilig.core.errors import EXIT_OK, UsageError

RULES_BYTES_MAX = 1 << 20


def rules_text(files: Sequence[str]) -> str:
    """Name and text of each file as one JSON text; empty for none. Raises UsageError."""
    from veilig.cli.audit_scope import read_input

    pairs = [[file, read_input(file, "the file of rules")] for file in files]
    text = json.dumps(pairs) if pairs else ""
    if len(text) > RULES_BYTES_MAX:
        raise UsageError(f"more than {RULES_BYTES_MAX} characters of rules", fix="give fewer files")
    return text


def check_rules(files: Sequence[str], *, quiet: bool = False) -> int:
    """Run the examples of every rule. Raises UsageError with file:line for the first that fails."""
    from veilig.audit.custom import check_examples, read_rules, texts_of

    if not files:
        raise UsageError("--check-rules without --rules", fix="name the files: --rules FILE --check-rules")
    written = read_rules(texts_of(rules_text(files)))
    check_examples(written)
    if quiet:
        return EXIT_OK
    for rule, place in zip(written.rules, written.places, strict=True):
        print(f"ok      {place}  {rule.id}  CWE-{rule.cwe}  {rule.title}")
    print(
        f"rules   {len(written.rules)} hold: each finds its bad example and is silent on its good one",
        file=sys.stderr,
    )
    return EXIT_OK
