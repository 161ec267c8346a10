"""Which distribution does an import need that the project does not declare?"""

import re
import sys
from collections.abc import Mapping

from veilig.audit.dependencies import canonical, is_requirements_file, read_dependencies
from veilig.repair.edit import Edit, newline_of
from veilig.repair.recipes.project_index import modules
from veilig.repair.recipes.proposal import Confidence, Context, Needs, Proposal

RECIPE = "declared"
# Import name -> distribution, where they differ and no installed metadata says so.
_DISTRIBUTIONS: Mapping[str, str] = {
    "yaml": "pyyaml", "PIL": "pillow", "cv2": "opencv-python", "sklearn": "scikit-learn",
    "bs4": "beautifulsoup4",
    "dateutil": "python-dateutil", "dotenv": "python-dotenv", "jwt": "pyjwt", "Crypto": "pycryptodome",
    "OpenSSL": "pyopenssl", "MySQLdb": "mysqlclient", "psycopg2": "psycopg2-binary", "git": "gitpython",
    "serial": "pyserial", "attr": "attrs", "magic": "python-magic", "pkg_resources": "setuptools",
    "markdown": "markdown", "docx": "python-docx", "slugify": "python-slugify",
    "pydantic_settings": "pydantic-settings",
    "flask_sqlalchemy": "flask-sqlalchemy", "rest_framework": "djangorestframework", "zmq": "pyzmq",
}  # fmt: skip
# A list below its key, as setuptools reads it; the entries are indented.
_SETUP_CFG = re.compile(r"^install_requires[ \t]*=[ \t]*(?:\r?\n)((?:[ \t]+\S.*(?:\r?\n|\Z))*)", re.MULTILINE)


def propose(context: Context) -> list[Proposal]:
    """Declares what the failing import needs, beside the rest; a person decides about the name.

    A name that no metadata and no table knows is never guessed: a wrong distribution is somebody else's code.
    """
    failure = context.failure
    match = re.search(r"No module named '(\w+)", failure.message) if failure else None
    if match is None or failure is None:
        return []
    name = match[1]
    if name in sys.stdlib_module_names or name in modules(context.files):
        return []
    known = context.installed.get(name)
    distribution = canonical(known.name if known else _DISTRIBUTIONS.get(name, ""))
    declared = {item.name for item in read_dependencies(context.files).requirements if not item.locked}
    declared |= _in_setup_cfg(context.files.get("setup.cfg", ""))
    if not distribution or distribution in declared:
        return []
    version = f">={known.version}" if known else ""
    requirement = f"{distribution}{version}"
    question = f"install {distribution} for `import {name}`?"
    found: list[Proposal] = []
    for path, text in context.files.items():
        edit = _entry(path, text, requirement)
        if edit:
            title = f"declares {requirement} for import {name}"
            found.append(
                Proposal(
                    RECIPE, title, path, (edit,), 1.2, Needs.IMPORT, Confidence.MEDIUM, decision=question
                )
            )
    return found[:2]


def _in_setup_cfg(text: str) -> set[str]:
    match = _SETUP_CFG.search(text)
    entries = match[1].splitlines() if match else []
    return {canonical(found[0]) for one in entries if (found := re.match(r"[A-Za-z0-9._-]+", one.strip()))}


def _entry(path: str, text: str, requirement: str) -> Edit | None:
    if path == "pyproject.toml":
        match = re.search(r"^dependencies\s*=\s*\[", text, re.MULTILINE)
        if match is None:
            return None
        rest = text[match.end() :]
        indent = re.match(r"\s*\n([ \t]*)", rest)
        if indent:
            return Edit(
                path, match.end(), match.end(), f'{newline_of(text)}{indent[1] or "    "}"{requirement}",'
            )
        comma = "" if rest.lstrip().startswith("]") else ", "
        return Edit(path, match.end(), match.end(), f'"{requirement}"{comma}')
    if path == "setup.cfg":
        match = _SETUP_CFG.search(text)
        if match is None:
            return None
        margin = re.match(r"[ \t]*", match[1])
        line = f"{(margin[0] if margin else '') or '    '}{requirement}{newline_of(text)}"
        return Edit(path, match.start(1), match.start(1), line)
    if is_requirements_file(path) and "/" not in path and "dev" not in path and "test" not in path:
        gap = "" if not text or text.endswith("\n") else newline_of(text)
        return Edit(path, len(text), len(text), f"{gap}{requirement}{newline_of(text)}")
    return None
