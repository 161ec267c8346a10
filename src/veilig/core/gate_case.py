"""What does the gate know of one proposal, and how does it stand in the ledger?

Values only, and one rule: in `judge` the strictest verdict of policy, provider and guards wins.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from veilig.core.action import Action, RunCommand, WriteFile
from veilig.core.action_json import JSON, to_json
from veilig.core.actor import Actor
from veilig.core.approval import Approval, Need, need_to_json
from veilig.core.grant import Grant
from veilig.core.limits import COMMAND_TIMEOUT_S
from veilig.core.policy_model import BudgetClaim, Decision
from veilig.core.provider import Guard, Opinion, Provider, Verdict, strictness
from veilig.core.redact import Handle

PREVIEW_CHARS = 4000  # what fits a screen or two; the whole action stands in the ledger
_PREVIEW_LAST = {"timeout_s": 1}


@dataclass(frozen=True, slots=True)
class Law:
    """What decides: the current policy as functions, re-read so that a reload tightens at once.

    decide: verdict for an action at this moment; raises PolicyError when the file is unreadable.
    allows_secret: may this handle be expanded in this action?
    """

    decide: Callable[[Action, Actor], Decision]
    digest: Callable[[], str]
    allows_secret: Callable[[Handle, Action], bool]


@dataclass(frozen=True, slots=True)
class Decided:
    """The strictest verdict, and everything the intent must carry."""

    verdict: Verdict
    rule: str
    reasons: tuple[str, ...]
    policy: str
    needs: tuple[Need, ...] = ()
    budgets: tuple[BudgetClaim, ...] = ()
    opinions: tuple[Opinion, ...] = ()
    grantable: bool = False

    def granted_by(self, grant: Grant) -> "Decided":
        """The same decision with the question answered by a standing grant."""
        return replace(
            self, verdict=Verdict.ALLOW, rule=f"grant {grant.id}", reasons=(*self.reasons, grant.reason)
        )


@dataclass(frozen=True, slots=True)
class Case:
    """One proposal on its way through the gate; its action's secrets are handles already."""

    ref: str
    action: Action
    digest: str
    actor: Actor
    provider: Provider | None
    shown: str = ""  # what the provider says that the act would touch

    @property
    def timeout_s(self) -> float:
        """The action's own bound, or the default."""
        return float(getattr(self.action, "timeout_s", COMMAND_TIMEOUT_S))

    def proposed(self) -> dict[str, JSON]:
        """Body of `action.proposed`."""
        action: JSON = to_json(self.action)
        return {"ref": self.ref, "action": action, "digest": self.digest, "actor": self.actor.id}

    def tightened(self, opinion: Opinion) -> dict[str, JSON]:
        """Body of `guard.tightened`."""
        return {"ref": self.ref, "guard": opinion.guard, "verdict": opinion.verdict.value, "why": opinion.why}

    def decided(self, decided: Decided) -> dict[str, JSON]:
        """Body of `action.decided`."""
        return {
            "ref": self.ref,
            "verdict": decided.verdict.value,
            "rule": decided.rule,
            "reasons": list(decided.reasons),
            "policy": decided.policy,
        }

    def started(self, decided: Decided, approval: Approval | None) -> dict[str, JSON]:
        """Body of `action.started`: the intent."""
        body: dict[str, JSON] = {
            "ref": self.ref,
            "digest": self.digest,
            "policy": decided.policy,
            "timeout_ms": round(self.timeout_s * 1000),
        }
        if decided.budgets:
            body["budget_keys"] = [b.key for b in decided.budgets]
        if approval is not None:
            body["approval"] = approval.id
            body["claims"] = [approval.claim]
        return body

    def question(self, decided: Decided, session: str, now_ms: int, boot: str) -> Approval:
        """A new approval that nobody has voted on."""
        return Approval(
            id=os.urandom(4).hex(),
            ref=self.ref,
            session=session,
            digest=self.digest,
            proposer=self.actor.person,
            needs=decided.needs,
            preview=preview(self.action, self.shown),
            asked_ms=now_ms,
            boot=boot,
        )

    def asked(self, approval: Approval, decided: Decided) -> dict[str, JSON]:
        """Body of `approval.asked`."""
        return {
            "ref": self.ref,
            "approval": approval.id,
            "digest": self.digest,
            "proposer": approval.proposer,
            "needs": [need_to_json(n) for n in approval.needs],
            "why": list(decided.reasons),
            "preview": approval.preview,
        }


def judge(case: Case, decision: Decision, guards: Sequence[Guard], policy: str) -> Decided:
    """Policy, provider and guards together: the strictest verdict wins, and no provider means deny."""
    verdict, rule, reasons = decision.verdict, decision.rule, list(decision.reasons)
    if case.provider is None:
        verdict, rule = Verdict.DENY, "no provider"
        reasons.append(f"no provider here performs {case.action.kind}")
    given = [o for g in guards if (o := g.judge(case.action, case.actor)) is not None]
    opinions = [o for o in given if strictness(o.verdict) > strictness(decision.verdict)]
    for opinion in opinions:
        reasons.append(f"{opinion.guard}: {opinion.why}")
        if strictness(opinion.verdict) > strictness(verdict):
            verdict, rule = opinion.verdict, f"guard {opinion.guard}"
    asked = decision.needs or (decision.otherwise if verdict is Verdict.ASK else ())
    needs = tuple(Need(str(n.gateway), n.roles, n.quorum, n.expiry_s) for n in asked)
    if verdict is Verdict.ASK and not (needs and all(n.quorum > 0 for n in needs)):
        verdict, rule = Verdict.DENY, "nobody to ask"  # a question that nobody must answer is no question
        reasons.append("the policy asks, and names nobody who may answer")
    grantable = decision.grantable and not opinions
    return Decided(
        verdict, rule, tuple(reasons), policy, needs, tuple(decision.budgets), tuple(opinions), grantable
    )


def refusal(rule: str, why: str) -> Decided:
    """A deny that needs no policy: the policy itself cannot be read."""
    return Decided(Verdict.DENY, rule, (why,), "")


def preview(action: Action, shown: str = "") -> str:
    """What a person sees before voting: the diff or the fields, and what it touches; cut to a screen."""
    if hasattr(action, "diff"):
        text = str(getattr(action, "diff", ""))
    elif isinstance(action, WriteFile):
        text = f"{action.path}\n{action.content}"
    else:
        # What it does, and to what, first: a list of questions shows the first line.
        fields = sorted(to_json(action).items(), key=lambda one: _PREVIEW_LAST.get(one[0], 0))
        lines = [f"{k}: {v}" for k, v in fields if k != "kind" and v not in ("", [], None)]
        what = " ".join(action.argv) if isinstance(action, RunCommand) else action.target
        text = "\n".join([f"{action.kind} {what}", *lines])
    if shown:
        text = f"{text}\n{shown}"
    if len(text) <= PREVIEW_CHARS:
        return text
    return f"{text[:PREVIEW_CHARS]}\n... {len(text) - PREVIEW_CHARS} more characters in the ledger"
