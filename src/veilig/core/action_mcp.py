"""Which acts are done by a tool that somebody else wrote? Those of MCP servers, which run inside the wall.

They belong to the list of core/action.py, which is the page to read first.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from veilig.core import action_checks as check
from veilig.core.effect import EXECUTE, Effects, InWall


@dataclass(frozen=True, slots=True)
class ListTools(InWall):
    """Ask the MCP server `server` of veilig.yaml which tools it has; it is started if need be."""

    server: str
    kind: Literal["mcp.list"] = "mcp.list"
    effects: ClassVar[Effects] = EXECUTE

    def __post_init__(self) -> None:
        InWall.__post_init__(self)
        check.need_name(self.server, self.kind)

    @property
    def target(self) -> str:
        return self.server


@dataclass(frozen=True, slots=True)
class CallTool(InWall):
    """Let one tool of an MCP server act, with `arguments` as the JSON text of an object."""

    server: str
    tool: str
    arguments: str = "{}"
    kind: Literal["mcp.call"] = "mcp.call"
    effects: ClassVar[Effects] = EXECUTE

    def __post_init__(self) -> None:
        InWall.__post_init__(self)
        check.need_name(self.server, self.kind)
        check.need_name(self.tool, self.kind)
        check.need_size(self.arguments, self.kind)

    @property
    def target(self) -> str:
        return f"{self.server}.{self.tool}"
