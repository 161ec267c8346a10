"""Which repairs do all recipes offer for a failure, and which defects does reading alone show?"""

from collections.abc import Mapping

from veilig.repair.denials_paths import is_protected, is_test_path
from veilig.repair.edit import EditError
from veilig.repair.recipes import (
    config_keys,
    config_syntax,
    coroutines,
    crash,
    declared,
    deployment,
    gone,
    imports,
    moved_names,
    names,
    silent,
    syntax,
)
from veilig.repair.recipes.proposal import Advice, Context, Defect, Proposal


def propose(context: Context) -> list[Proposal | Advice]:
    """Every proposal for the failure of a context, cheapest first, then the advice; each edit can be applied.

    Without a failure: repairs of what `detect` finds.
    """
    found: list[Proposal | Advice] = [*syntax.propose(context)]
    for path in sorted(context.files):
        found += config_syntax.propose(path, context.files[path])
    found += config_keys.propose(context)
    found += deployment.propose(context.files, context.paths)
    if context.failure is not None:
        found += moved_names.propose(context)
        found += coroutines.propose(context)
        found += gone.propose(context)
        found += imports.propose(context)
        found += names.propose(context)
        found += declared.propose(context)
        found += crash.propose(context)
        found += silent.propose(context)
    proposals = [item for item in found if isinstance(item, Proposal) and _applies(item, context.files)]
    advice = [item for item in found if isinstance(item, Advice)]
    # The gate would refuse these; a person may still want to know the edit.
    text = "the edit would change a test or a protected file, which no repair may do"
    refused = [item for item in proposals if _refused(item)]
    advice += [Advice(item.recipe, item.title, item.path, item.line, text) for item in refused]
    proposals = [item for item in proposals if not _refused(item)]
    # The cheapest of equal edits stays: later entries of a dict replace earlier ones.
    dearest_first = sorted(proposals, key=lambda item: -item.cost)
    unique: dict[object, Proposal] = {(item.edits, item.removed): item for item in dearest_first}
    ranked: list[Proposal] = sorted(unique.values(), key=lambda item: item.cost)
    return [*ranked, *dict.fromkeys(advice)]


def detect(files: Mapping[str, str], paths: frozenset[str] = frozenset()) -> list[Defect]:
    """Syntax errors and typos of code and configuration, found without running anything, in path order.

    paths: every file of the project, those that were not read included.
    """
    found: list[Defect] = []
    for path, text in files.items():
        if path.endswith((".py", ".pyi")):
            found += syntax.detect(path, text)
        else:
            found += config_syntax.detect(path, text)
    found += config_keys.detect(files)
    found += deployment.detect(files, paths)
    return sorted(set(found), key=lambda item: (item.path, item.line, item.message))


def _refused(proposal: Proposal) -> bool:
    paths = {proposal.path, *(edit.path for edit in proposal.edits), *proposal.removed}
    return any(is_test_path(path) or is_protected(path) for path in paths)


def _applies(proposal: Proposal, files: Mapping[str, str]) -> bool:
    try:
        return proposal.patch().apply(files) != dict(files)
    except EditError:
        return False
