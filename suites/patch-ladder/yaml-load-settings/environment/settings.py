"""Settings that a user uploads."""

import yaml


def parse(text: str) -> dict:
    """The settings of a YAML text; ValueError when it is no mapping."""
    found = yaml.load(text, Loader=yaml.UnsafeLoader)
    if not isinstance(found, dict):
        raise ValueError("settings are a mapping")
    return found
