"""Which reader and which rules belong to each language?"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from veilig.audit.languages import (
    dockerfile_rules,
    javascript_flows,
    javascript_settings,
    kubernetes_rules,
    shell_rules,
    terraform_rules,
    workflow_rules,
)
from veilig.audit.languages.dockerfile import Dockerfile
from veilig.audit.languages.javascript import Script
from veilig.audit.languages.language import Language
from veilig.audit.languages.rule import LanguageRule
from veilig.audit.languages.shell import Shell
from veilig.audit.languages.terraform import Terraform
from veilig.audit.languages.yamltree import Yaml


@dataclass(frozen=True, slots=True)
class Pack:
    """How files of one language are read, and what is looked for in them. `sample`: a path for the examples."""

    read: Callable[[str, str], Any]
    rules: tuple[LanguageRule[Any], ...]
    sample: str


_SCRIPT = (*javascript_flows.RULES, *javascript_settings.RULES)
PACKS: dict[Language, Pack] = {
    Language.JAVASCRIPT: Pack(Script, _SCRIPT, "app.js"),
    Language.TYPESCRIPT: Pack(Script, _SCRIPT, "app.tsx"),
    Language.SHELL: Pack(Shell, shell_rules.RULES, "run.sh"),
    Language.TERRAFORM: Pack(Terraform, terraform_rules.RULES, "main.tf"),
    Language.DOCKERFILE: Pack(Dockerfile, dockerfile_rules.RULES, "Dockerfile"),
    Language.WORKFLOW: Pack(Yaml, workflow_rules.RULES, ".github/workflows/ci.yml"),
    Language.KUBERNETES: Pack(Yaml, kubernetes_rules.RULES, "deploy.yaml"),
}
BY_ID = {rule.id: rule for pack in PACKS.values() for rule in pack.rules}
