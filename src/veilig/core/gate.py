"""How does an action reach the world? Through `Gate.submit`, and no other way.

Propose, decide, approve, reserve budget, record the intent, execute, verify, record the
result. The verdicts are allow, ask and deny; the strictest wins; silence means deny. The
intent is durable before the act and the decision stands in the same transaction, so a crash
leaves either nothing or an intent whose outcome is looked at, never repeated blindly.
"""

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace

from veilig.core import approval as approvals
from veilig.core import grant as grants
from veilig.core.action import Action
from veilig.core.action_json import JSON, digest, from_json, to_json
from veilig.core.actor import Actor
from veilig.core.approval import Approval, State
from veilig.core.clock import Clock
from veilig.core.errors import InvalidAction, PolicyError, ProviderError, VeiligError
from veilig.core.gate_case import Case, Decided, Law, judge, refusal
from veilig.core.ledger import Ledger, Tx
from veilig.core.limits import APPROVAL_POLL_S, COMMAND_TIMEOUT_S_MAX
from veilig.core.output import OutputLog
from veilig.core.provider import (
    Approver,
    Found,
    Guard,
    Outcome,
    Permit,
    Provider,
    Request,
    Shows,
    Status,
    Verdict,
    Vote,
)
from veilig.core.redact import Redactor

ACTING: ContextVar[bool] = ContextVar("veilig_acting", default=False)  # true only while a provider acts

# Without `action.started`, of which every act leaves one: the claim says whether an approval is spent.
ASKED = tuple(name for name in approvals.APPROVAL_EVENTS if name != "action.started")

SHOW_S = 5.0  # what an act would touch is asked of its provider no longer than this
GRACE_S = 30.0  # a provider enforces the action's own timeout; this catches one that hangs


@dataclass(frozen=True, slots=True)
class _Asked:
    """The act waits for people."""

    approval: Approval


@dataclass(frozen=True, slots=True)
class _Begun:
    """The intent is durable: the act may start under this policy until `deadline_s` of the boot clock."""

    policy: str
    deadline_s: float
    approval: str = ""


class Gate:
    """One gate per session; every planner, person and capability shares it.

    patience_s: how long `submit` waits for votes before it returns HELD (0: at once).
    """

    def __init__(
        self,
        *,
        session: str,
        ledger: Ledger,
        law: Law,
        providers: Sequence[Provider],
        redactor: Redactor,
        clock: Clock,
        guards: Sequence[Guard] = (),
        approver: Approver | None = None,
        patience_s: float = 0.0,
    ) -> None:
        self.session = session
        self._ledger = ledger
        self._law = law
        self._providers: Mapping[str, Provider] = {k: p for p in providers for k in p.kinds}
        self._redactor = redactor
        self._clock = clock
        self._guards = tuple(guards)
        self._approver = approver
        self._patience_s = patience_s

    async def submit(self, action: Action, actor: Actor, *, note: dict[str, JSON] | None = None) -> Outcome:
        """What came of `action`: performed and verified, failed, refused or held.

        note: what changed in the planner's state, recorded in the same transaction as the proposal. A refusal
        is an Outcome; only a ledger that cannot be written raises (LedgerError), and then
        nothing was done.
        """
        try:
            case = self._propose(action, actor)
        except InvalidAction as error:
            return await self._unspeakable(error)
        if isinstance(case.provider, Shows) and self._decide(case).verdict is Verdict.ASK:
            case = replace(case, shown=await self._shown(case.provider, case.action))
        begun = await self._ledger.submit(lambda tx: self._begin(tx, case, note))
        if isinstance(begun, _Asked):
            begun = await self._await_people(case, begun.approval)
        if isinstance(begun, Outcome):
            return begun
        started = time.monotonic()
        outcome = await self._execute(case, begun)
        await self._record(case, outcome, time.monotonic() - started)
        return outcome

    async def settle(self, ref: str, action: Action) -> Outcome:
        """Close an intent that has no result: ask its provider what happened, repeat nothing.

        Returns DONE, FAILED (it did not happen) or IN_DOUBT (nobody can tell: the planner or a
        person goes on from there).
        """
        provider = self._providers.get(action.kind)
        found, detail = Found.UNKNOWN, "no provider of this kind any more"
        if provider is not None:
            token = ACTING.set(True)
            try:
                async with asyncio.timeout(GRACE_S):
                    found, detail = await provider.inspect(action), ""
            except VeiligError as error:
                detail = self._redactor.seal(str(error))
            except TimeoutError:
                detail = f"the provider did not answer within {GRACE_S:.0f} s"
            finally:
                ACTING.reset(token)
        body: dict[str, JSON] = {"ref": ref, "found": found.value, "detail": detail}
        await self._ledger.submit(lambda tx: tx.append("action.doubted", self.session, body))
        return doubted(found, detail)

    # --- propose, decide, approve, reserve, record the intent -----------------------------------

    def _propose(self, action: Action, actor: Actor) -> Case:
        plain: JSON = to_json(action)
        sealed = self._redactor.seal_value(plain)
        if sealed != plain:
            action = from_json(sealed)
        return Case(os.urandom(6).hex(), action, digest(action), actor, self._providers.get(action.kind))

    async def _unspeakable(self, error: InvalidAction) -> Outcome:
        """The refusal of an action whose secrets stand where no handle can: recorded without the action."""
        why = self._redactor.seal(f"a secret stands where it cannot be hidden: {error}")
        body: dict[str, JSON] = {"ref": os.urandom(6).hex(), "rule": "redact", "why": why}
        await self._ledger.submit(lambda tx: tx.append("action.refused", self.session, body))
        return Outcome(False, why, Status.REFUSED, {"rule": "redact"})

    def _decide(self, case: Case) -> Decided:
        try:
            decision = self._law.decide(case.action, case.actor)
            return judge(case, decision, self._guards, self._law.digest())
        except PolicyError as error:
            return refusal("policy", self._redactor.seal(str(error)))

    def _begin(
        self, tx: Tx, case: Case, note: dict[str, JSON] | None, again: bool = False
    ) -> "_Begun | _Asked | Outcome":
        """Everything before the act, in one transaction: what it appends is durable when it returns."""
        decided, answer = self._decide(case), ""
        if decided.verdict is Verdict.ASK and (grant := self._granted(tx, case, decided)):
            decided, answer = decided.granted_by(grant), grant.id
        if not again:
            if note is not None:
                tx.append("session.noted", self.session, {"delta": self._redactor.seal_value(note)})
            tx.append("action.proposed", self.session, case.proposed())
            for opinion in decided.opinions:
                tx.append("guard.tightened", self.session, case.tightened(opinion))
        if not again or decided.verdict is Verdict.DENY:
            tx.append("action.decided", self.session, case.decided(decided))
        if decided.verdict is Verdict.DENY:
            return self._refuse(tx, case, decided.rule, "; ".join(decided.reasons))
        approval: Approval | None = None
        if decided.verdict is Verdict.ASK:
            found = self._approved(tx, case, decided)
            if not isinstance(found, Approval):
                return found
            approval, answer = found, found.id
        now = tx.now_ms()
        for budget in decided.budgets:
            # Ledger time is cut to milliseconds: what seems exactly one window ago may be a little less.
            if tx.count(budget.key, now - round(budget.window_s * 1000)) >= budget.limit:
                why = f"budget {budget.key} is spent: {budget.limit} in {budget.window_s:.0f} s"
                return self._refuse(tx, case, decided.rule, why)
        if approval is not None and not tx.claim(approval.claim):
            return self._refuse(tx, case, decided.rule, f"approval {approval.id} is already spent")
        tx.append("action.started", self.session, case.started(decided, approval))
        life_s = min(case.timeout_s + GRACE_S, COMMAND_TIMEOUT_S_MAX)
        if approval is not None:
            life_s = min(life_s, approval.left_s(now))
        return _Begun(decided.policy, self._clock.boottime_s() + life_s, answer)

    def _approved(self, tx: Tx, case: Case, decided: Decided) -> Approval | _Asked | Outcome:
        """The approval this act may spend; else the question that was asked, or the refusal that stands."""
        known = [a.spent_if(tx.claimed(a.claim)) for a in approvals.fold(tx.events(names=ASKED)).values()]
        now, boot = tx.now_ms(), tx.boot
        if denied := approvals.recently_denied(known, case.digest, now):
            return self._refuse(tx, case, decided.rule, f"people denied this act (approval {denied.id})")
        found = approvals.usable(known, self.session, case.digest, now, boot)
        if found is not None and found.needs != decided.needs:
            why = "the policy asks for other people now"
            tx.append("approval.expired", self.session, {"approval": found.id, "why": why})
            found = None
        if found is None:
            found = case.question(decided, self.session, now, boot)
            tx.append("approval.asked", self.session, case.asked(found, decided))
        return found if found.state(now, boot) is State.APPROVED else _Asked(found)

    def _granted(self, tx: Tx, case: Case, decided: Decided) -> grants.Grant | None:
        if not decided.grantable or not grants.grantable(case.action):
            return None
        now, boot = tx.now_ms(), tx.boot
        known = grants.fold(tx.events(names=grants.GRANT_EVENTS)).values()
        return next((g for g in known if g.live(now, boot) and g.covers(case.action, self.session)), None)

    def _refuse(self, tx: Tx, case: Case, rule: str, why: str) -> Outcome:
        tx.append("action.refused", self.session, {"ref": case.ref, "rule": rule, "why": why})
        return Outcome(False, why, Status.REFUSED, {"rule": rule})

    # --- people ------------------------------------------------------------------------------------

    async def _shown(self, provider: Shows, action: Action) -> str:
        """What the provider can add for people, sealed; that it cannot is shown, too."""
        token = ACTING.set(True)
        try:
            async with asyncio.timeout(SHOW_S):
                return self._redactor.seal(await provider.show(action))
        except VeiligError as error:
            return self._redactor.seal(f"(what it would touch cannot be shown: {error.what})")
        except TimeoutError:
            return f"(what it would touch was not told within {SHOW_S:.0f} s)"
        finally:
            ACTING.reset(token)

    async def _await_people(self, case: Case, approval: Approval) -> "_Begun | Outcome":
        """Ask here and listen to the ledger until the act may start, is refused, or patience ends."""
        if self._approver is not None:
            vote = await self._approver.ask(self._request(case, approval))
            if vote is not None:
                await cast_vote(self._ledger, approval.id, vote)
        until = time.monotonic() + self._patience_s
        while True:
            begun = await self._ledger.submit(lambda tx: self._begin(tx, case, None, True), durable=True)
            if not isinstance(begun, _Asked):
                return begun
            if time.monotonic() >= until:
                return await self._hold(case, begun.approval)
            await asyncio.sleep(APPROVAL_POLL_S)

    async def _hold(self, case: Case, approval: Approval) -> Outcome:
        missing = approvals.explain_missing(approval.missing())
        body: dict[str, JSON] = {"ref": case.ref, "approval": approval.id, "why": missing}
        await self._ledger.submit(lambda tx: tx.append("action.held", self.session, body))
        return Outcome(False, f"waits for {missing}", Status.HELD, {"approval": approval.id})

    def _request(self, case: Case, approval: Approval) -> Request:
        expires_s = approvals.PROPOSAL_EXPIRY_S
        why = (approvals.explain_missing(approval.missing()),)
        return Request(approval.id, case.ref, case.digest, case.action, why, approval.preview, expires_s)

    # --- execute, verify, record -----------------------------------------------------------------

    async def _execute(self, case: Case, begun: _Begun) -> Outcome:
        """Performed and verified by the provider; foreign trouble becomes a failed Outcome."""
        log = OutputLog(self._ledger, self.session, case.ref, self._redactor)
        timeout_s = case.timeout_s + GRACE_S
        permit = Permit(
            ref=case.ref,
            digest=case.digest,
            deadline_s=begun.deadline_s,
            policy=begun.policy,
            session=self.session,
            expand=lambda text: self._redactor.expand(
                text, lambda h: self._law.allows_secret(h, case.action)
            ),
            seal=self._redactor.seal,
            emit=log.write,
            approval=begun.approval,
        )
        provider = case.provider
        if provider is None:  # judged a deny already; never trust that alone
            raise ProviderError(f"no provider performs {case.action.kind}")
        token = ACTING.set(True)
        try:
            async with asyncio.timeout(timeout_s):
                self._must_still_hold(begun)
                outcome = await provider.perform(case.action, permit)
                outcome = await provider.verify(case.action, outcome, permit)
        except VeiligError as error:
            outcome = Outcome(False, str(error), Status.FAILED)
        except TimeoutError:
            why = f"the provider did not answer within {timeout_s:.0f} s; what it did is unknown"
            outcome = Outcome(False, why, Status.IN_DOUBT)
        finally:
            ACTING.reset(token)
            await log.close()
        data = self._redactor.seal_value(dict(outcome.data))
        return Outcome(
            outcome.ok,
            self._redactor.seal(outcome.detail),
            outcome.status,
            data if isinstance(data, dict) else {},
            case.ref,
        )

    def _must_still_hold(self, begun: _Begun) -> None:
        """The last look before the act. Raises PolicyError; nothing has happened then."""
        if self._law.digest() != begun.policy:
            raise PolicyError(
                "the policy changed between the decision and the act",
                why="nothing was done under the old one",
                fix="propose it again",
            )

    async def _record(self, case: Case, outcome: Outcome, wall_s: float) -> None:
        name = "action.verified" if outcome.ok else "action.failed"
        body: dict[str, JSON] = {
            "ref": case.ref,
            "status": outcome.status.value,
            "detail": outcome.detail,
            "data": dict(outcome.data),
            "wall_ms": round(wall_s * 1000),
        }
        await self._ledger.submit(lambda tx: tx.append(name, self.session, body))


def doubted(found: Found, detail: str) -> Outcome:
    """The outcome of an intent that a crash left open; its data says what was `found`."""
    data: dict[str, JSON] = {"found": found.value}
    if found is Found.DONE:
        return Outcome(True, detail or "had happened before the crash", Status.DONE, data)
    if found is Found.NOT_DONE:
        return Outcome(False, detail or "had not happened before the crash", Status.FAILED, data)
    why = detail or "nobody can tell whether it happened before the crash"
    return Outcome(False, why, Status.IN_DOUBT, data)


async def give_grant(ledger: Ledger, given: grants.Grant, seconds: float) -> grants.Grant:
    """Record a standing permission for `seconds` of ledger time; its id and end are set here.

    Raises ApprovalError for a class that is asked each time, or a grant too broad or too long.
    """
    grants.need_low_risk(given.kind, given.pattern)
    grants.need_grant(given.kind, given.pattern, seconds)

    def record(tx: Tx) -> grants.Grant:
        expires_ms = tx.now_ms() + round(seconds * 1000)
        grant = replace(given, id=os.urandom(4).hex(), expires_ms=expires_ms, boot=tx.boot)
        tx.append("grant.given", grant.session, grants.given(grant))
        return grant

    return await ledger.submit(record)


async def revoke_grant(ledger: Ledger, prefix: str, actor: Actor, reason: str) -> grants.Grant:
    """End a standing permission now. Raises ApprovalError when none or several start with `prefix`."""

    def record(tx: Tx) -> grants.Grant:
        grant = grants.need_known(grants.fold(tx.events(names=grants.GRANT_EVENTS)), prefix)
        body: dict[str, JSON] = {"grant": grant.id, "actor": actor.id, "reason": reason}
        tx.append("grant.revoked", grant.session, body)
        return grant

    return await ledger.submit(record)


async def cast_vote(ledger: Ledger, approval_id: str, vote: Vote) -> Approval:
    """Record one person's vote; the approval with it. Raises ApprovalError when it may not count."""

    def record(tx: Tx) -> Approval:
        asked = approvals.need_known(approvals.fold(tx.events(names=approvals.APPROVAL_EVENTS)), approval_id)
        approvals.may_vote(asked, vote.actor, vote.approve, tx.now_ms(), tx.boot)
        tx.append(
            "approval.voted",
            asked.session,
            approvals.voted(asked, vote.actor, vote.approve, vote.via, vote.reason),
        )
        return approvals.fold(tx.events(names=approvals.APPROVAL_EVENTS))[asked.id]

    return await ledger.submit(record)
