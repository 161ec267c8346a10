"""Where do commands run? Behind the strongest wall this machine has, tried before it is believed."""

from .ladder import REQUIRED, preflight, stand
from .probe import Probe
from .sandbox import Sandbox
from .toolchain import toolchain_mounts
from .wall import PROTECTED_PATHS, Bounds, CommandResult, Feature, Mounts, Reason, Wall
from .workspace import own

__all__ = [
    "PROTECTED_PATHS",
    "REQUIRED",
    "Bounds",
    "CommandResult",
    "Feature",
    "Mounts",
    "Probe",
    "Reason",
    "Sandbox",
    "Wall",
    "own",
    "preflight",
    "stand",
    "toolchain_mounts",
]
