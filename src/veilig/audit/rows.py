"""Which lines does a text have, as compilers, diffs and editors count them?

`str.splitlines` also cuts at form feeds, at U+2028 and at other characters that stand inside a line of code:
every number below such a character would be wrong, and whoever writes one could move what stands there out of
sight.
"""


def rows_of(text: str) -> list[str]:
    """The lines without their ends; CR LF, LF and CR end one. An empty rest after the last end is none."""
    return _split(text.replace("\r\n", "\n").replace("\r", "\n"))


def diff_rows(text: str) -> list[str]:
    """The lines of a diff, which LF alone ends; a CR before it belongs to the file that the diff is about."""
    return _split(text)


def _split(text: str) -> list[str]:
    rows = text.split("\n")
    if not rows[-1]:
        rows.pop()
    return rows
