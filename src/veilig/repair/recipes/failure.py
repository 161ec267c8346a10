"""What failed, where, and in which frames, read from the text of a traceback or of pytest?"""

import re

from veilig.repair.recipes.proposal import Failure, Frame

_FRAME = re.compile(r'^\s*File "(?P<path>[^"]+)", line (?P<line>\d+)(?:, in (?P<function>.+))?$')
_PYTEST_FRAME = re.compile(
    r"^(?P<path>[\w./-]+\.py):(?P<line>\d+): (?:in (?P<function>\S+)|(?P<error>[A-Z]\w+))?"
)
_ERROR = re.compile(
    r"^(?:E\s+)?(?P<type>(?:\w+\.)*[A-Z]\w*(?:Error|Exception|Warning|Exit|Interrupt|NotFound))"
    r"(?:: (?P<message>.*))?$"
)


def parse_failure(text: str, root: str = "") -> Failure | None:
    """The last exception of a text, with its frames; None when the text holds none.

    root: the folder whose paths become relative; frames outside keep their full path.
    """
    frames: list[Frame] = []
    exception = message = ""
    lines = text.splitlines()
    for index, row in enumerate(lines):
        match = _FRAME.match(row.removeprefix("E ").rstrip()) or _PYTEST_FRAME.match(row)
        if match:
            if exception and _FRAME.match(row):
                frames = []  # a new traceback begins: "During handling of ..."
                exception = ""
            below = lines[index + 1].removeprefix("E ").strip() if index + 1 < len(lines) else ""
            frames.append(
                Frame(_relative(match["path"], root), int(match["line"]), match["function"] or "", below)
            )
            continue
        error = _ERROR.match(row)
        if error:
            exception, message = error["type"].rsplit(".", 1)[-1], error["message"] or ""
    if not exception:
        return None
    inside = [
        frame
        for frame in frames
        if not frame.path.startswith(("/", "<")) and "site-packages" not in frame.path
    ]
    last = inside[-1] if inside else Frame("", 0, "")
    return Failure(exception, message, last.path, last.line, tuple(frames), text)


def _relative(path: str, root: str) -> str:
    prefix = f"{root.rstrip('/')}/" if root else ""
    return path[len(prefix) :] if prefix and path.startswith(prefix) else path.removeprefix("./")
