"""Checks names of packages."""

import re

_NAME = re.compile(r"^([a-z0-9]+[._-]?)+$")


def is_name(text: str) -> bool:
    """Whether it is a name: letters and digits (lower case), divided by single dots, dashes or underscores."""
    return bool(_NAME.match(text))
