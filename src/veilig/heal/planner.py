"""What does a heal session propose next? HealPlanner: watch, name the cause, propose one act, watch again.

Pure: the state is JSON and holds all there is; the same state and outcome give the same step. What may be
done, and how often, is the policy's business: here is only decided what could help.
"""

from dataclasses import dataclass, replace
from typing import Any, cast

from veilig.core.action import Action, Notify, ScaleDown, WatchSignals
from veilig.core.action_json import digest, from_json, to_json
from veilig.core.canonical import JSON
from veilig.core.errors import InvalidAction
from veilig.core.provider import Finish, Outcome, Status, Step
from veilig.core.service import Inventory
from veilig.core.signal import from_json as sample_from_json
from veilig.heal import hypothesis
from veilig.heal import remedy as cure
from veilig.heal.asking import alike, described, note_told
from veilig.heal.case import Diagnosis
from veilig.heal.diagnosis import diagnose
from veilig.heal.fleet import Cause, Fleet, ordered, ports_of
from veilig.heal.history import ACTS, Act, History, remember
from veilig.heal.incident import REFUSALS, Asked, Done, Incident, Refusal
from veilig.heal.report import notice, report
from veilig.heal.spare import spare
from veilig.heal.wake import ONCE_LOOK_S, SETTLE_S, wake_s
from veilig.heal.ward import Kept, Ward

IDLE_AFTER_S = 1800.0  # what waits for so long is thought over with news ...
IDLE_S = 3600.0  # ... or once in so long
CLOSE_S = 5.0  # well for so long: over
ASK_AGAIN_S = 60.0  # the same question, should an answer have been missed: news of one come at once
ASK_AGAIN_MAX_S = 300.0  # a question lives for half an hour: people are never long without one
NEW_QUESTION_S = 30.0  # another question about the same service
REFUSED_S = (30.0, 60.0, 120.0, 300.0, 600.0)
REFUSED_CHANGED_S = 5.0  # something changed since, but only just
HOLD_S = 10.0  # "not now": storms and warm-ups end in seconds
UNSEEN_S = 10.0
ONCE_S = 20.0  # `--once` ends after so long, whatever is still unclear
NO_TROUBLE = frozenset({Cause.HEALTHY, Cause.STARTING, Cause.OPERATOR_STOPPED})
OUTSIDE = frozenset({Cause.PORT_CONFLICT, Cause.DEPENDENCY_DOWN, Cause.DISK_FULL})


@dataclass(frozen=True, slots=True)
class HealOptions:
    """once: one full look, proposals, and a report. channels: where people are told of what needs them.

    give_back: replicas of ours that are needed no more are proposed to go (the policy's `scale_down_own`).
    """

    once: bool = False
    channels: tuple[str, ...] = ()
    give_back: bool = False


class HealPlanner:
    """Heals the services of one inventory; a core.provider.Planner."""

    def __init__(self, inventory: Inventory, options: HealOptions | None = None) -> None:
        self._inventory = inventory
        self._options = options or HealOptions()
        self._services = {service.name: service for service in inventory.services}
        order, self._cyclic = ordered(inventory)
        self._place = {name: at for at, name in enumerate(order)}
        self._ports = ports_of(inventory)
        self._last: tuple[dict[str, JSON], Ward] | None = None  # not to parse what was just written
        self._guessed = ("", "")  # digest of the proposal of this step and who made it, if a model did

    def first(self) -> Step:
        """Look at everything at once."""
        return self._step(Ward(), self._watch("", 0.0))

    def again(self, state: dict[str, JSON], out: Action | None) -> Step:
        """Go on after a stop, a crash or a new services file: look at everything anew.

        out: the act whose end nobody recorded; it counts as done, so that it is not blindly repeated.
        """
        ward = Ward.from_json(state) if state else Ward()
        for name in [name for name in ward.incidents if name not in self._services]:
            ward.close(name, "no longer in the services file")
        ward.kept = {name: kept for name, kept in ward.kept.items() if name in self._services}
        kept, incident = ward.kept.get(ward.acting), ward.incidents.get(ward.acting)
        if out is not None and kept is not None and incident is not None and not isinstance(out, Notify):
            picture = cure.picture(kept.sample)
            ward.acted(ward.acting, Act(ward.now_s, out.kind, incident.cause, picture), ACTS)
        ward.acting, ward.fresh = "", False
        return self._step(ward, self._watch("", 0.0))

    def next(self, state: dict[str, JSON], action: Action, outcome: Outcome) -> Step:
        """What comes after this outcome of `action`."""
        if self._last is not None and self._last[0] is state:
            ward = self._last[1].copy()
        else:
            ward = Ward.from_json(state)
        if isinstance(action, WatchSignals):
            if not outcome.ok:
                return self._blind(ward, outcome)
            self._look(ward, outcome.data)
        elif isinstance(action, Notify):
            note_told(ward, action)
        else:
            self._result(ward, action, outcome)
        return self._decide(ward)

    def by_model(self, action: Action) -> str:
        """The model whose proposal this step's action is: people decide on it. "" for the planner's own."""
        mark, model = self._guessed
        return model if mark and mark == digest(action) else ""

    # --- what came back ---------------------------------------------------------------------------------

    def _blind(self, ward: Ward, outcome: Outcome) -> Step:
        """Nothing could be seen: nothing is proposed, and it looks again."""
        if outcome.data.get("reload"):
            return self._step(ward, Finish(False, outcome.detail, {"reload": True}, resumable=True))
        ward.notes = [f"nothing could be seen: {outcome.detail}"[:300]]
        ward.fresh = False
        if self._options.once:
            return self._step(ward, Finish(False, ward.notes[0], report(ward)))
        return self._step(ward, self._watch(ward.mark, 1.0 if outcome.status is not Status.REFUSED else 5.0))

    def _look(self, ward: Ward, data: Any) -> None:
        """Take in what one watch brought; what names no service of the inventory is left out, and said."""
        now_s = float(data.get("now_s", ward.now_s))
        if now_s < ward.now_s - 0.5:
            ward.shift(now_s - ward.now_s)
        ward.now_s, ward.mark = now_s, str(data.get("mark", ""))
        ward.began_s = ward.began_s if ward.looks else now_s
        ward.looks += 1
        ward.fresh = True
        notes = [str(note)[:300] for note in data.get("notes", [])][:20]
        for given in data.get("samples", []):
            try:
                sample = sample_from_json(given)
            except InvalidAction as error:
                notes.append(f"a sample could not be read: {error}"[:300])
                continue
            service = self._services.get(sample.service)
            if service is None:
                notes.append(f"a sample of {sample.service!r}, which the services file does not name"[:300])
                continue
            known = ward.kept.get(service.name)
            history = remember(known.history if known else History(), service, sample)
            ward.kept[service.name] = Kept.of(sample, history, given)
        ward.notes = notes
        before, ward.holds = ward.holds, str(data.get("holds", ""))[:300]
        if before and not ward.holds:  # what was refused meanwhile is worth proposing again, now
            ward.incidents = {name: replace(one, refused=()) for name, one in ward.incidents.items()}
        answered = {str(one) for one in data.get("answered", [])}
        guesses = hypothesis.taken(data.get("said"))
        for name, incident in list(ward.incidents.items()):
            if incident.asked is not None and incident.asked.approval in answered:
                ward.incidents[name] = replace(incident, asked=replace(incident.asked, next_s=now_s))
            if (guess := guesses.get(incident.id)) is not None:
                ward.incidents[name] = replace(ward.incidents[name], hypothesis=guess, idle_s=0.0)

    def _result(self, ward: Ward, action: Action, outcome: Outcome) -> None:
        """Record what came of a proposal: in the history what may have happened, else why it did not."""
        name = ward.acting
        ward.acting = ""
        incident = ward.incidents.get(name)
        kept = ward.kept.get(name)
        if kept is not None and isinstance(action, ScaleDown):  # refused or done: the next try comes later
            ward.acted(name, Act(ward.now_s, action.kind, "calm", kept.picture, helped=True), ACTS)
            ward.fresh = False
            return
        if incident is None or kept is None:
            return
        mark = digest(action)
        done = Done(
            ward.now_s,
            action.kind,
            described(action),
            mark,
            str(outcome.status),
            outcome.detail[:300],
            outcome.ref,
        )
        incident = incident.acted(done)
        if outcome.status is Status.HELD:
            approval = str(outcome.data.get("approval", ""))
            since_s = incident.asked.since_s if incident.asked else ward.now_s
            again_s = min(max(ASK_AGAIN_S, (ward.now_s - since_s) / 4), ASK_AGAIN_MAX_S)
            asked = Asked(approval, to_json(action), since_s, ward.now_s + again_s)
            incident = replace(incident, asked=asked, stage="asked")
        elif outcome.status is Status.REFUSED:
            incident = self._refused(ward, incident, mark, outcome)
            incident = replace(incident, hypothesis=hypothesis.spent(incident, action))
        else:
            ward.fresh = False
            ward.acted(name, Act(ward.now_s, action.kind, incident.cause, kept.picture), ACTS)
            guess = hypothesis.spent(incident, action)
            incident = replace(incident, asked=None, refused=(), stage="settling", hypothesis=guess)
        ward.incidents[name] = incident

    def _refused(self, ward: Ward, incident: Incident, mark: str, outcome: Outcome) -> Incident:
        known = incident.refusal(mark)
        times = known.times + 1 if known else 1
        wait_s = REFUSED_S[min(times, len(REFUSED_S)) - 1]
        if outcome.data.get("rule") == "incident rule" and times == 1:
            wait_s = HOLD_S
        now_s = ward.now_s
        seen, why = self._mark(ward, incident), outcome.detail[:300]
        refusal = Refusal(mark, now_s, now_s + wait_s, seen, times, why)
        others = [r for r in incident.refused if r.digest != mark]
        return replace(incident, refused=(*others, refusal)[-REFUSALS:], asked=None, stage="hold")

    def _mark(self, ward: Ward, incident: Incident) -> str:
        """What must change for a refusal to be worth another try: the picture, the cause, who else is ill."""
        ill = sorted(name for name in ward.incidents if name != incident.service)
        return f"{ward.kept[incident.service].picture} {incident.cause} {','.join(ill)}"[:400]

    # --- what next --------------------------------------------------------------------------------------

    def _decide(self, ward: Ward) -> Step:
        self._guessed = ("", "")
        diagnoses = self._diagnoses(ward)
        self._incidents(ward, diagnoses)
        if ward.fresh:
            for name in sorted(ward.incidents, key=self._place.__getitem__):
                action = self._proposal(ward, name, diagnoses[name]) if name in diagnoses else None
                if action is not None:
                    ward.acting = name
                    return self._step(ward, action)
            if (told := self._notice(ward)) is not None:
                return self._step(ward, told)
            if self._options.give_back and (found := spare(ward, self._services)) is not None:
                ward.acting = found[0]
                return self._step(ward, found[1])
        if self._options.once and self._seen_enough(ward, diagnoses):
            return self._step(ward, self._finish(ward))
        return self._step(ward, self._watch(ward.mark, wake_s(ward, once=self._options.once)))

    def _diagnoses(self, ward: Ward) -> dict[str, Diagnosis]:
        """Every service that is not simply well, providers first, so that a shared cause is known below."""
        causes: dict[str, Cause] = {}
        fleet = Fleet(ward.now_s, self._services, causes, self._ports, self._cyclic)
        found: dict[str, Diagnosis] = {}
        names = {name for name, kept in ward.kept.items() if kept.restless} | set(ward.incidents)
        for name in sorted(names, key=self._place.__getitem__):
            kept, incident = ward.kept[name], ward.incidents.get(name)
            if incident is not None and incident.idle_s > ward.now_s and incident.seen_s == kept.sample.t_s:
                causes[name] = Cause(incident.cause)
                continue
            found[name] = diagnose(self._services[name], kept.sample, kept.history, fleet)
            causes[name] = found[name].cause
        return found

    def _incidents(self, ward: Ward, diagnoses: dict[str, Diagnosis]) -> None:
        """Open, name again and close incidents, as the diagnoses say; all wake up when who is ill changes."""
        now_s, before = ward.now_s, set(ward.incidents)
        for name, found in diagnoses.items():
            incident = ward.incidents.get(name)
            if incident is None:
                unsure = not found.sure or (found.cause is Cause.UNSEEN and now_s - found.since_s < UNSEEN_S)
                if found.cause in NO_TROUBLE or unsure:
                    continue
                incident = ward.open(name)
            elif found.cause is Cause.OPERATOR_STOPPED:
                ward.incidents[name] = incident.named(found, now_s)
                ward.close(name, "a person stopped it")
                continue
            if found.cause is not Cause.HEALTHY:
                sure = found.sure or found.cause is Cause.STARTING
                named = incident.named(found, now_s) if sure else incident
                over = incident.cause in OUTSIDE and found.cause not in OUTSIDE
                if over and ward.kept[name].history.cleared_s < incident.since_s:
                    ward.remember(name, cleared_s=now_s)
                ward.incidents[name] = replace(named, well_s=0.0) if named.well_s else named
            elif not incident.well_s:
                ward.incidents[name] = replace(incident, well_s=now_s, stage="settling", asked=None)
            elif now_s - incident.well_s >= CLOSE_S:
                ward.close(name, "well")
        if before != set(ward.incidents):
            for name, incident in ward.incidents.items():
                if incident.idle_s:
                    ward.incidents[name] = replace(incident, idle_s=0.0)

    def _proposal(self, ward: Ward, name: str, found: Diagnosis) -> Action | None:
        """The act to propose for this service now, if any; the incident says why not."""
        incident = ward.incidents.get(name)
        if incident is None or incident.well_s:
            return None
        kept, now_s = ward.kept[name], ward.now_s
        stable_s = now_s - (incident.since_s or now_s)
        service = self._services[name]
        decided = cure.remedy(
            cure.Patient(found, service, kept.sample, kept.history, now_s, stable_s, kept.picture)
        )
        changed: dict[str, Any] = {"why": decided.why, "until_s": decided.until_s}
        if found.cause is Cause.STARTING:
            changed["stage"] = "settling"
        elif decided.action is None:
            changed["stage"] = str(decided.step)
        if decided.escalate and not incident.escalated_s:
            changed |= {"escalated_s": now_s, "updated_s": now_s}
        action, guessed = decided.action, False
        if action is None and decided.step is cure.Step.HOLD:
            action = hypothesis.proposal(incident, kept.sample, now_s)
            guessed = action is not None
        if incident.asked is not None and (action is None or now_s < incident.asked.next_s):
            action, changed = self._waiting(incident, action, changed, now_s)
        elif incident.asked is not None and action is not None and alike(incident.asked, action):
            action = from_json(incident.asked.action)  # what people saw, to the letter
        if action is not None and (until_s := self._blocked(ward, incident, action)) > now_s:
            changed |= {"stage": "hold", "until_s": until_s}
            action = None
        if action is None and now_s - incident.moved_s > IDLE_AFTER_S:
            timers = (now_s + IDLE_S, changed["until_s"], incident.asked.next_s if incident.asked else 0.0)
            changed |= {"idle_s": min(t for t in timers if t > now_s), "seen_s": kept.sample.t_s}
        if any(getattr(incident, key) != value for key, value in changed.items()):
            ward.incidents[name] = replace(incident, **changed)
        if action is not None and guessed and incident.hypothesis is not None:
            self._guessed = (digest(action), incident.hypothesis.model)
        return action

    @staticmethod
    def _waiting(
        incident: Incident, action: Action | None, changed: dict[str, Any], now_s: float
    ) -> tuple[Action | None, dict[str, Any]]:
        """People were asked: wait for them, unless something else is needed by now, or nothing."""
        asked = cast(Asked, incident.asked)
        if action is None:
            return None, changed | {"asked": None}
        if alike(asked, action):
            return None, changed | {"stage": "asked", "until_s": asked.next_s, "why": "waits for people"}
        if now_s - asked.since_s < NEW_QUESTION_S:
            return None, changed | {"stage": "hold", "until_s": asked.since_s + NEW_QUESTION_S}
        return action, changed | {"asked": None}

    def _blocked(self, ward: Ward, incident: Incident, action: Action) -> float:
        """Until when this action is not worth proposing: it was refused, or its group is being healed."""
        now_s = ward.now_s
        refused = incident.refusal(digest(action)) if incident.refused else None
        if refused is not None and now_s < refused.next_s:
            changed = self._mark(ward, incident) != refused.mark
            soon_s = refused.t_s + REFUSED_CHANGED_S
            if not changed or now_s < soon_s:
                return soon_s if changed else refused.next_s
        group = self._services[incident.service].group
        for name, other in ward.incidents.items():
            settling = group and name != incident.service and other.stage == "settling" and not other.well_s
            if settling and self._services[name].group == group:
                return now_s + SETTLE_S
        return 0.0

    def _notice(self, ward: Ward) -> Notify | None:
        """Tell people once of each incident that needs them, through each channel."""
        for name, incident in ward.incidents.items():
            needs = incident.escalated_s or incident.asked is not None
            if not needs or incident.well_s:
                continue
            for channel in self._options.channels:
                if channel not in incident.told:
                    ward.acting = name
                    return Notify(channel, incident.id, notice(incident))
        return None

    # --- the step ---------------------------------------------------------------------------------------

    def _watch(self, mark: str, timeout_s: float) -> WatchSignals:
        return WatchSignals(self._inventory.path, self._inventory.digest, mark, round(timeout_s, 3))

    def _seen_enough(self, ward: Ward, diagnoses: dict[str, Diagnosis]) -> bool:
        if not ward.fresh or ward.looks < 2 or ward.now_s - ward.began_s < ONCE_LOOK_S:
            return False
        if ward.now_s - ward.began_s >= ONCE_S:
            return True
        open_ = any(i.stage in ("look", "settling", "act") for i in ward.incidents.values())
        return not open_ and all(d.sure or d.cause is Cause.STARTING for d in diagnoses.values())

    def _finish(self, ward: Ward) -> Finish:
        missing = len(self._services) - len(ward.kept)
        well = not ward.incidents and not missing
        told = f"{len(ward.incidents)} of {len(self._services)} services need something"
        if missing:
            told += f"; {missing} could not be looked at"
        return Finish(well, "all services are well" if well else told, report(ward))

    def _step(self, ward: Ward, propose: Action | Finish) -> Step:
        state = ward.to_json()
        self._last = (state, ward)
        return Step(state, propose)
