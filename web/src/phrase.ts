// How is an act said in one plain line? From its kind and its arguments as this role may see them.

type Args = Record<string, unknown>;

const text = (v: unknown): string => (typeof v === "string" ? v : typeof v === "number" ? String(v) : "");
const words = (v: unknown): string => (Array.isArray(v) ? v.map((w) => (/^[\w./:=@%+,-]+$/.test(String(w)) ? String(w) : JSON.stringify(w))).join(" ") : "");
const some = (v: unknown, none: string): string => {
  if (!Array.isArray(v) || !v.length) return none;
  return v.length === 1 ? String(v[0]) : `${String(v[0])} and ${v.length - 1} more`;
};

const SAY: Record<string, (a: Args) => string> = {
  "workspace.open": (a) => `Copy ${text(a.source)}`,
  "workspace.diff": () => "Compare the copy with the source",
  "workspace.apply": (a) => `Apply the changes to ${text(a.root) || "the source"}`,
  "audit.scan": (a) => (a.diff ? "Scan what changed" : `Scan ${some(a.paths, "everything")}`),
  "tests.run": (a) => `Run ${some(a.tests, "the tests")}`,
  "repair.search": (a) => `Search a repair for ${some(a.failing, "failing tests")}`,
  "repair.propose": () => "Look for a repair of a failure",
  "history.read": () => "Read the history of the files",
  "file.patch": (a) => `Change ${text(a.path)}${a.title ? `: ${text(a.title)}` : ""}`,
  "file.write": (a) => `Write ${text(a.path)}`,
  "file.delete": (a) => `Delete ${text(a.path)}`,
  "file.read": (a) => `Read ${text(a.path)}`,
  "file.view": (a) => `View ${text(a.path)}`,
  "files.search": (a) => `Search for ${text(a.pattern ?? a.query)}`,
  "command.run": (a) => words(a.argv),
  "git.branch": (a) => `Put the changes on branch ${text(a.branch)}`,
  "model.ask": (a) => `Ask ${text(a.model)}`,
  "mcp.call": (a) => `Call ${text(a.tool)} of ${text(a.server)}`,
  "mcp.list": (a) => `List the tools of ${text(a.server)}`,
  "session.start": (a) => `Start a session: ${text(a.task)}`,
  "service.restart": (a) => `Restart ${text(a.service)}`,
  "service.stop": (a) => `Stop ${text(a.service)}`,
  "service.rollback": (a) => `Roll ${text(a.service)} back to ${text(a.to)}`,
  "container.scale_up": (a) => `Scale ${text(a.group)} from ${text(a.current)} up to ${text(a.replicas)}`,
  "container.scale_down": (a) => `Scale ${text(a.group)} from ${text(a.current)} down to ${text(a.replicas)}`,
  "database.change": (a) => `${text(a.verb).replace(/_/g, " ")} on ${text(a.database)} ${text(a.argument)}`.trim(),
  "security_group.change": (a) => `${text(a.verb)} ${text(a.rule)} in ${text(a.group)}`,
  "people.notify": (a) => `Tell people: ${text(a.text)}`,
  "signals.watch": () => "Watch the signals",
  "policy.edit": () => "Edit the policy",
};

export function phrase(kind: string, args: Args | undefined): string {
  return SAY[kind]?.(args ?? {}).split("\n")[0] ?? "";
}

interface Told {
  kind: string;
  title: string;
  who?: { name: string };
  facts?: Record<string, unknown>;
  reason?: string;
  vote?: string;
}

// What people did, said the same way; anything unknown keeps the server's title.
export function deed(e: Told, name: (id: string) => string): string {
  const f = e.facts ?? {};
  const who = e.who?.name ?? "somebody";
  switch (e.kind) {
    case "session.started":
      return `Session started: ${text(f.kind)} ${text(f.source)}`;
    case "session.resumed":
      return "Session resumed";
    case "room.opened":
      return `${text(f.name) || who} opened this session`;
    case "room.invited":
      return `${who} made a link for a ${text(f.role)}`;
    case "room.uninvited":
      return `${who} revoked a link`;
    case "room.joined":
      return `${text(f.name)} joined as ${text(f.role)}`;
    case "room.assigned":
      return f.role ? `${text(f.name) || name(text(f.person))} is ${text(f.role)} now` : `${text(f.name) || name(text(f.person))} was put out`;
    case "control.asked":
      return `${who} asks for control`;
    case "control.offered":
      return `${who} offers control to ${name(text(f.to))}`;
    case "control.declined":
      return `${who} keeps control as it is`;
    case "control.passed":
      return f.holder ? `Control went to ${name(text(f.holder))} (${text(f.how)})` : `${who} released control`;
    case "approval.voted":
      return `${who} ${e.vote === "approve" ? "approved" : "denied"}${e.reason ? `: ${e.reason}` : ""}`;
    case "secret.revealed":
      return `${who} ${e.title}`;
    case "record.exported":
      return `${who} exported the record as ${text(f.form)}`;
    case "session.interrupted":
      return `${who} asked to stop`;
    case "session.ended":
      return `Session ended, ${e.title}`;
    default:
      return "";
  }
}
