"""Which of a project's files are written in a language that no rule here is about?"""

from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath

from veilig.audit.finding import Notice

NAMED_MAX = 6  # languages; the rest is one number
_LANGUAGES = {
    ".c": "C", ".cc": "C++", ".cpp": "C++", ".cs": "C#", ".cxx": "C++", ".dart": "Dart", ".erl": "Erlang",
    ".ex": "Elixir", ".exs": "Elixir", ".fs": "F#", ".go": "Go", ".groovy": "Groovy", ".h": "C", ".hpp": "C++",
    ".hs": "Haskell", ".ipynb": "notebook", ".java": "Java", ".jl": "Julia", ".kt": "Kotlin", ".lua": "Lua",
    ".m": "Objective-C", ".ml": "OCaml", ".php": "PHP", ".pl": "Perl", ".pm": "Perl", ".ps1": "PowerShell",
    ".pyx": "Cython", ".r": "R", ".rb": "Ruby", ".rs": "Rust", ".scala": "Scala", ".sol": "Solidity",
    ".svelte": "Svelte", ".swift": "Swift", ".vb": "Visual Basic", ".vue": "Vue",
}  # fmt: skip


def unread_languages(paths: Iterable[str]) -> tuple[Notice, ...]:
    """One remark with the number of files in each language that is not read; none when there is no such file."""
    known = sorted(path for path in paths if PurePosixPath(path).suffix.lower() in _LANGUAGES)
    if not known:
        return ()
    counts = Counter(_LANGUAGES[PurePosixPath(path).suffix.lower()] for path in known).most_common()
    told = [f"{count} {name}" for name, count in counts[:NAMED_MAX]]
    if rest := sum(count for _, count in counts[NAMED_MAX:]):
        told.append(f"{rest} others")
    return (Notice(known[0], 1, f"languages that are not read: {', '.join(told)}"),)
