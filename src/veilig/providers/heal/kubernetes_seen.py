"""What does a deployment's object say of it? Its pods, its revision, who holds it, which template served."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from veilig.core.signal import Run

RESTARTED = "kubectl.kubernetes.io/restartedAt"
REVISION = "deployment.kubernetes.io/revision"
MANAGED, OWN, MAKER = "veilig.managed", "veilig.added", "veilig.made-by"
_HASH = "pod-template-hash"  # a label that the controller adds to each revision


@dataclass(frozen=True, slots=True)
class State:
    """whole: every wanted pod is of the current template and ready. ready_now: pods of it that are ready."""

    run: Run
    incarnation: str
    revision: str
    wanted: int
    whole: bool
    ready_now: int
    template: str
    template_age_s: float
    managed: bool
    held_by: str
    stuck: bool
    text: str


def state(found: Mapping[str, Any], sets: Sequence[Mapping[str, Any]]) -> State:
    """The deployment as it is."""
    meta, spec, status = found["metadata"], found["spec"], found.get("status", {})
    wanted, ready = int(spec.get("replicas", 1)), int(status.get("readyReplicas") or 0)
    observed = int(status.get("observedGeneration") or 0) >= int(meta.get("generation") or 0)
    updated = int(status.get("updatedReplicas") or 0)
    revision = str(meta.get("annotations", {}).get(REVISION, "0"))
    template = template_hash(spec["template"])
    current = of_template(sets, template)
    now = int(current.get("status", {}).get("readyReplicas") or 0) if current else min(ready, updated)
    held = "its rollout is paused" if spec.get("paused") else "it is scaled to none" if not wanted else ""
    stuck = any(
        one.get("type") == "Progressing" and one.get("reason") == "ProgressDeadlineExceeded"
        for one in status.get("conditions", [])
    )
    if held:
        run = Run.STOPPED
    elif ready:
        run = Run.RUNNING
    else:
        run = Run.DOWN if observed and (stuck or (updated >= wanted and now == 0)) else Run.STARTING
    return State(
        run=run,
        incarnation=f"{meta['uid']}/{revision}" if ready else "",
        revision=revision,
        wanted=wanted,
        whole=observed and now >= wanted > 0 and updated >= wanted,
        ready_now=now,
        template=template,
        template_age_s=_age_s(current["metadata"] if current else meta),
        managed=meta.get("labels", {}).get(MANAGED) == "true",
        held_by=held,
        stuck=stuck,
        text=f"{ready} of {wanted} pods are ready, {now} of them of the latest template, revision {revision}",
    )


def of_template(sets: Sequence[Mapping[str, Any]], template: str) -> Mapping[str, Any] | None:
    """The latest revision with this template; a restart makes a new one of the same."""
    same = [one for one in sets if template_hash(one["spec"]["template"]) == template]
    return max(same, key=_revision, default=None)


def _revision(one: Mapping[str, Any]) -> int:
    text = str(one["metadata"].get("annotations", {}).get(REVISION, "0"))
    return int(text) if text.isdecimal() else 0


def serving(found: Mapping[str, Any], sets: Sequence[Mapping[str, Any]]) -> str:
    """The template whose pods are ready while those of the current one are not; "" when nothing shows one."""
    current = template_hash(found["spec"]["template"])
    older = [
        one
        for one in sets
        if int(one.get("status", {}).get("readyReplicas") or 0) > 0
        and template_hash(one["spec"]["template"]) != current
    ]
    older.sort(key=_revision)
    return template_hash(older[-1]["spec"]["template"]) if older else ""


def own(found: Mapping[str, Any], maker: str) -> int:
    """Replicas that this state folder has added and not taken back."""
    notes = found["metadata"].get("annotations", {})
    text = str(notes.get(OWN, "0"))
    wanted = int(found["spec"].get("replicas", 1))
    return min(int(text), wanted) if maker and notes.get(MAKER) == maker and text.isdecimal() else 0


def bare(template: Mapping[str, Any]) -> dict[str, Any]:
    """A template as a deployment writes it, without what its controller added."""
    meta = dict(template.get("metadata", {}))
    meta["labels"] = {key: value for key, value in meta.get("labels", {}).items() if key != _HASH}
    return {**template, "metadata": meta}


def template_hash(template: Mapping[str, Any]) -> str:
    """SHA-256 of it; a restart by annotation changes what runs, and not what it is."""
    plain = bare(template)
    given: dict[str, Any] = plain["metadata"].get("annotations") or {}
    notes = {key: value for key, value in given.items() if key != RESTARTED}
    plain["metadata"] = {"labels": plain["metadata"]["labels"], "annotations": notes}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _age_s(meta: Mapping[str, Any]) -> float:
    try:
        made = datetime.fromisoformat(str(meta.get("creationTimestamp", "")))
    except ValueError:
        return 0.0
    return max(0.0, (datetime.now(UTC) - made).total_seconds())
