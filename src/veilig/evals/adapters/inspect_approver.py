"""May this tool of Inspect's be called? Our gate decides: allowed, asked of people, or refused.

For agents that are not ours: Inspect's own, or any behind `agent_bridge(approval=...)`. What our policy asks
people about is escalated to Inspect's next approver; with none, Inspect rejects it, as it does what no
approver matches.
"""

import os
from typing import cast

from inspect_ai.approval import Approval, Approver, approver
from inspect_ai.model import ChatMessage
from inspect_ai.tool import ToolCall, ToolCallView

from veilig.app import Setting
from veilig.app.judging import Judge, Status
from veilig.core.canonical import JSON
from veilig.core.errors import VeiligError


@approver
def veilig_gate(policy: str = "", home: str = "") -> Approver:
    """Approve what the operator's policy allows, escalate what it asks about, reject the rest.

    policy: the operator's veilig.yaml; "" for what holds on this machine. home: the folder of the ledger; ""
    for the one of veilig's own sessions.
    """
    environment = dict(os.environ) | ({"VEILIG_HOME": home} if home else {})
    setting = Setting(policy or None, environment=environment)

    async def approve(
        message: str, call: ToolCall, view: ToolCallView, history: list[ChatMessage]
    ) -> Approval:
        del message, view, history  # words of a model are no reason
        try:
            judge = Judge(setting, "inspect")
            try:
                found = await judge.ask(call.function, cast(dict[str, JSON], call.arguments))
            finally:
                await judge.close()
        except VeiligError as error:  # an unreadable policy or ledger stops every call
            return Approval(decision="reject", explanation=str(error))
        match found.status:
            case Status.DONE if not call.parse_error:
                return Approval(decision="approve", explanation="allowed by the policy")
            case Status.HELD:
                return Approval(decision="escalate", explanation=found.detail)
            case _:
                return Approval(decision="reject", explanation=found.detail or "its arguments cannot be read")

    return approve
