"""What is looked for, and how far does the audit go?"""

import re
from dataclasses import dataclass

from veilig.audit.engine.knowledge import Knowledge
from veilig.audit.rules import RULES
from veilig.audit.rules.known import KNOWLEDGE
from veilig.audit.rules.rule import Rule

FILE_BYTES_MAX = 2 << 20  # 2 MiB: larger Python files are generated data
SECONDS_MAX = 600.0
TEST_PATH = re.compile(r"(^|/)(tests?|testing|conftest\.py|test_[^/]*\.py|[^/]*_test\.py)(/|$)")


@dataclass(frozen=True, slots=True)
class ScanConfig:
    """What to look for and how far to go. `today` (ISO date) decides which suppressions have expired."""

    rules: tuple[Rule, ...] = RULES
    include_pattern: bool = False
    include_tests: bool = False
    file_bytes_max: int = FILE_BYTES_MAX
    seconds_max: float = SECONDS_MAX
    today: str = ""
    knowledge: Knowledge = KNOWLEDGE
    identity: str = ""  # of rules that are not ours: what was found with others is not believed
    suppress: bool = True  # False: what is silenced in the source is reported like everything else
