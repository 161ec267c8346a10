"""Which language is a file written in, and what must be installed to read it?"""

import re
from enum import StrEnum
from pathlib import PurePosixPath

EXTRA = "veilig[languages]"


class Language(StrEnum):
    """What the rules of this package read; the value is how people call it."""

    JAVASCRIPT = "JavaScript"
    TYPESCRIPT = "TypeScript"
    SHELL = "shell"
    TERRAFORM = "Terraform"
    DOCKERFILE = "Dockerfile"
    WORKFLOW = "GitHub workflow"
    KUBERNETES = "Kubernetes"


SUFFIXES = {
    ".js": Language.JAVASCRIPT,
    ".jsx": Language.JAVASCRIPT,
    ".mjs": Language.JAVASCRIPT,
    ".cjs": Language.JAVASCRIPT,
    ".ts": Language.TYPESCRIPT,
    ".tsx": Language.TYPESCRIPT,
    ".mts": Language.TYPESCRIPT,
    ".cts": Language.TYPESCRIPT,
    ".sh": Language.SHELL,
    ".bash": Language.SHELL,
    ".tf": Language.TERRAFORM,
    ".hcl": Language.TERRAFORM,
}
YAML = frozenset({".yaml", ".yml"})
_WORKFLOW = re.compile(r"(^|/)\.github/workflows/[^/]+\.ya?ml$|(^|/)action\.ya?ml$")
_MANIFEST = (re.compile(r"^apiVersion:", re.MULTILINE), re.compile(r"^kind:", re.MULTILINE))
_SHEBANG = re.compile(r"^#!\s*/\S*?(?:/env\s+(?:-\S+\s+)*)?(?:/)?(?:ba|da|k|z)?sh\b")
_DOCKERFILE = re.compile(
    r"(?i)^(Dockerfile|Containerfile)([.-].*)?(?<!\.py)(?<!\.js)(?<!\.ts)(?<!\.md)(?<!\.tf)(?<!\.sh)(?<!\.txt)$"
    r"|\.(dockerfile|containerfile)$"
)


def is_dockerfile(path: str) -> bool:
    """Whether a file with this name is read by `docker build`: Dockerfile, Dockerfile.dev, web.dockerfile."""
    return _DOCKERFILE.search(PurePosixPath(path).name) is not None


def may_be_script(path: str) -> bool:
    """Whether the name alone makes the file worth reading for this package."""
    suffix = PurePosixPath(path).suffix.lower()
    return suffix in SUFFIXES or suffix in YAML or is_dockerfile(path)


def language_of(path: str, text: str) -> Language | None:
    """The language of a file; None when no rule of this package is about it."""
    pure = PurePosixPath(path)
    if is_dockerfile(path):
        return Language.DOCKERFILE
    suffix = pure.suffix.lower()
    if suffix in YAML:
        if _WORKFLOW.search(path):
            return Language.WORKFLOW
        return Language.KUBERNETES if all(one.search(text) for one in _MANIFEST) else None
    if not suffix and _SHEBANG.match(text[:120]):
        return Language.SHELL
    return SUFFIXES.get(suffix)
