"""Which of our parts does Inspect AI run? An agent, a sandbox and an approver, which is our gate.

Needs the extra `inspect`. The entry point group `inspect_ai` names this module, so the sandbox `bwrap`
and the approver `veilig/veilig_gate` are found by their names.
"""

from veilig.evals.adapters.inspect_agent import veilig_agent
from veilig.evals.adapters.inspect_approver import veilig_gate
from veilig.evals.adapters.inspect_sandbox import BwrapSandbox

__all__ = ["BwrapSandbox", "veilig_agent", "veilig_gate"]
