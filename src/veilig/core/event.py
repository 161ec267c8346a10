"""Which facts does the ledger hold? Every event name with its fields; names are forever.

An event is a fact in the past tense, `noun.verb`. Add names and fields, never rename them.
Bodies hold ids, numbers with units and text whose secrets are handles already.
"""

from collections.abc import Mapping

EVENT_VERSION = 2  # 1: the body itself stands in the leaf; 2: a salted hash of it, so that it can be erased

EVENTS: Mapping[str, tuple[str, ...]] = {
    # the session
    "session.started": ("kind", "actor", "source", "options", "policy", "veilig"),
    "session.resumed": ("policy", "veilig", "in_doubt"),
    "session.leased": ("token", "holder"),  # who may drive it from now on; every earlier token is fenced off
    "session.rewound": ("to",),  # a person brought files and conversation back to before event `to`
    "session.told": (
        "actor",
        "via",
        "text",
        "anchor",
    ),  # a person spoke to the planner: data for it, never an approval
    "session.noted": ("delta",),  # what changed in the planner's state: resuming starts from all of them
    "session.ended": ("state", "summary", "result"),
    "wall.stood": ("wall", "enforces", "missing"),
    # one action, in the order of the gate
    "action.proposed": ("ref", "action", "digest", "actor"),
    "action.decided": ("ref", "verdict", "rule", "reasons", "policy"),
    "guard.tightened": ("ref", "guard", "verdict", "why"),
    "approval.asked": ("ref", "approval", "digest", "proposer", "needs", "why", "preview"),
    "approval.voted": ("approval", "actor", "person", "roles", "vote", "via", "reason"),
    "approval.expired": ("approval", "why"),
    "action.started": ("ref", "digest", "policy", "timeout_ms", "budget_keys", "claims", "approval"),
    "action.output": ("ref", "stream", "text", "dropped_bytes"),
    "action.verified": ("ref", "status", "detail", "data", "wall_ms"),
    "action.failed": ("ref", "status", "detail", "data", "wall_ms"),
    "action.refused": ("ref", "rule", "why"),
    "action.held": ("ref", "approval", "why"),  # waits for people; nothing has happened
    "action.doubted": ("ref", "found", "detail"),  # an intent without a result, settled after a crash
    "heal.switched": ("state", "actor", "reason"),  # a person stopped all healing acts, or let them go on
    # standing permissions of low-risk classes
    "grant.given": (
        "grant",
        "actor",
        "kind",
        "pattern",
        "directory",
        "session_only",
        "expires_ms",
        "reason",
    ),
    "grant.revoked": ("grant", "actor", "reason"),
    # who may use which model (access/)
    "subject.added": ("subject", "kind", "org", "actor"),
    "subject.vouched": ("subject", "tier", "person", "expires_s", "reason"),
    "subject.vetted": ("subject", "tier", "method", "verifier", "evidence", "expires_s", "actor"),
    "subject.scoped": ("subject", "hosts", "repositories", "evidence", "expires_s", "actor"),
    "key.issued": ("key", "subject", "hash", "hint", "expires_s", "actor"),
    "key.revoked": ("key", "reason", "actor"),
    "access.granted": ("grant", "subject", "class", "surface", "expires_s", "micro_usd", "reason", "actor"),
    "access.withdrawn": ("grant", "reason", "actor"),
    "seat.given": ("seat", "person", "duty", "hash", "expires_s", "actor"),  # at the admin page
    "seat.taken": ("seat", "reason", "actor"),
    "budget.set": ("account", "period", "tokens", "micro_usd", "actor"),
    "budget.leased": ("account", "period", "tokens", "micro_usd", "lease"),  # counts as spent from here on
    "budget.returned": ("account", "period", "tokens", "micro_usd", "lease"),  # what a lease did not need
    # what passed the gateway, and what was seen in it (monitor/)
    "gateway.started": ("listen", "policy", "safeguards", "veilig"),
    "gateway.stopped": ("why",),
    "gateway.served": ("requests",),  # some at once, each as JSON text with hashes instead of what was said
    "safeguard.tested": ("safeguard", "passed", "detail"),
    "monitor.failed": ("request", "stage", "error", "passed"),
    "monitor.judged": ("request", "subject", "model", "verdict", "harm", "trouble"),
    "indicators.loaded": ("digest", "live", "refused", "feeds"),
    "signal.raised": ("subject", "kind", "severity", "confidence", "evidence", "tier", "request", "text"),
    "signal.ignored": ("subject", "kind", "evidence", "why"),
    "ladder.moved": ("subject", "before", "after", "reason", "evidence", "actor", "case", "until_ms"),
    "case.opened": ("case", "subject", "owner"),
    "case.appealed": ("case", "actor", "text"),
    "case.decided": ("case", "granted", "reason", "actor"),
    "deployment.signed": ("model", "class", "level", "report", "requires", "reason", "actor", "expires_ms"),
    "deployment.withdrawn": ("model", "class", "reason", "actor"),
    "webhook.sent": ("event", "type", "to", "attempt", "status"),
    "webhook.failed": ("event", "type", "to", "attempt", "why", "final"),
    # several people, one session (collab/): who may do what, who drives, what was said and shown
    "person.added": ("person", "name", "role", "via", "actor"),
    "person.changed": ("person", "role", "active", "actor"),
    "person.entered": ("person", "via"),  # signed in
    "room.opened": ("person", "name", "via"),  # who started this session on the page: its owner
    "room.invited": ("invite", "role", "hash", "expires_s", "actor"),
    "room.uninvited": ("invite", "actor"),
    "room.joined": ("person", "name", "role", "invite"),
    "room.assigned": ("person", "name", "role", "actor"),  # an empty role: out of this room
    "control.asked": ("actor",),
    "control.offered": ("actor", "to"),
    "control.declined": ("actor", "to"),
    "control.passed": ("holder", "before", "actor", "how"),
    "comment.added": ("actor", "text", "anchor"),
    "secret.revealed": ("handle", "actor", "reason"),
    "session.interrupted": ("actor", "reason"),  # a person asked its process to stop
    "record.exported": ("form", "role", "actor"),
    # the ledger about itself
    "ledger.checkpointed": ("size", "root", "key"),
    "ledger.erased": ("session", "bodies", "ranges", "kept", "actor", "reason"),
    "ledger.moved": ("place", "before", "actor"),  # it goes on at `place`
}

CLOSING = frozenset({"action.verified", "action.failed", "action.refused", "action.held", "action.doubted"})
