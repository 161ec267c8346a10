// What does the page know about one session? Events in order, folded into rows; everything else beside them.
import { api, type Refused } from "./api";
import { Connection } from "./live";
import { deed, phrase } from "./phrase";
import type { Control, Ev, Finding, Person, Role, SessionDetail } from "./types";

const SIDE_MS = 2500;

export type Link = "connecting" | "live" | "reconnecting" | "offline" | "ended" | "refused";
export type Mark = "done" | "failed" | "refused" | "waits" | "runs" | "note" | "person" | "doubt";

// One row of the timeline: an action from its proposal to its outcome, or a single event.
export interface Row {
  key: string;
  seq: number; // of its first event
  lastSeq: number;
  at: number;
  end: number;
  events: Ev[];
  act: boolean;
  quiet: boolean; // bookkeeping: shown only on demand
  title: string;
  kind: string;
  mark: Mark;
  said: string;
  verdict?: Ev["verdict"];
  rule?: string;
  reason?: string;
  outcome?: string;
  approval?: string;
  who?: Ev["who"];
  search: string;
}

const PEOPLE = /^(comment|control|room|person|secret|approval|record|grant)\.|^session\.(told|interrupted|rewound)/;
const QUIET = /^(session\.noted|ledger\.|wall\.|webhook\.)/;

export function isPeople(kind: string): boolean {
  return PEOPLE.test(kind);
}

function markOf(row: Row): Mark {
  let mark: Mark = row.act ? "runs" : isPeople(row.kind) ? "person" : "note";
  for (const e of row.events) {
    if (e.verdict === "deny") mark = "refused";
    else if (e.verdict === "ask" && mark === "runs") mark = "waits";
    if (e.kind === "action.started") mark = "runs";
    if (e.kind === "action.held") mark = "waits";
    if (e.kind === "action.refused") mark = "refused";
    if (e.kind === "action.doubted") mark = "doubt";
    if (e.kind === "action.failed" || (e.kind === "action.verified" && e.outcome?.ok === false)) mark = "failed";
    else if (e.kind === "action.verified") mark = "done";
  }
  return mark;
}

export const SAID: Record<Mark, string> = {
  done: "done", failed: "failed", refused: "refused", waits: "waits for people", runs: "running", note: "", person: "", doubt: "in doubt",
};

function refold(row: Row): void {
  const first = row.events[0] as Ev;
  row.at = first.at;
  const last = row.events[row.events.length - 1] as Ev;
  row.end = last.at;
  row.lastSeq = last.seq;
  for (const e of row.events) {
    if (e.verdict) {
      row.verdict = e.verdict;
      row.rule = e.rule ?? row.rule;
      row.reason = e.reason ?? row.reason;
    }
    if (e.approval) row.approval = e.approval;
    if (e.outcome?.summary && e.kind !== "action.output") row.outcome = e.outcome.summary;
    const code = row.kind === "command.run" ? e.outcome?.data?.["exit_code"] : undefined;
    if (typeof code === "number" && code >= 0) row.outcome = `exit code ${code}`;
  }
  row.mark = markOf(row);
  row.said = SAID[row.mark];
  row.search = row.events
    .map((e) => `#${e.seq} ${e.kind} ${e.title} ${e.rule ?? ""} ${e.reason ?? ""} ${e.who?.name ?? ""} ${e.action?.summary ?? ""} ${e.outcome?.summary ?? ""} ${e.text ?? ""} ${e.outcome?.text ?? ""} ${JSON.stringify(e.action?.args ?? e.facts ?? "")}`)
    .join("\n")
    .toLowerCase();
}

// What the act printed: as it came, or (nothing came while it ran) what its end says.
export function printed(row: Row): { text: string; cut: boolean } {
  const live = row.events.filter((e) => e.kind === "action.output");
  const from = live.length ? live : row.events.filter((e) => e.outcome?.text && e.outcome.text !== row.outcome);
  return { text: from.map((e) => e.outcome?.text ?? "").join(""), cut: from.some((e) => e.outcome?.truncated) };
}

export class Room {
  events: Ev[] = [];
  rows: Row[] = [];
  last = 0;
  link: Link = "connecting";
  role: Role = "viewer";
  people: Person[] = [];
  control: Control = { holder: null, asks: [] };
  detail: SessionDetail | null = null;
  refusal: { what: string; why: string; fix: string } | null = null;
  loaded = false;
  loadedOf = 0;
  diff: string | null = null;
  findings: Finding[] | null = null;
  sideTrouble = "";
  version = 0;
  sideVersion = 0;
  private upto = 0; // diff and findings are those of this moment; 0: now
  private wanted = "";
  private names = new Map<string, string>();
  private byRef = new Map<string, Row>();
  private bySeq = new Map<number, Row>();
  private watchers = new Set<() => void>();
  private queued = false;
  private sideTimer = 0;
  connection: Connection;

  constructor(
    public id: string,
    public mine: string,
  ) {
    this.connection = new Connection(this);
  }

  close(): void {
    clearTimeout(this.sideTimer);
    this.connection.close();
    this.watchers.clear();
  }

  watch(f: () => void): () => void {
    this.watchers.add(f);
    return () => this.watchers.delete(f);
  }

  private changed(): void {
    this.version++;
    if (this.queued) return;
    this.queued = true;
    const tell = (): void => {
      this.queued = false;
      for (const f of [...this.watchers]) f();
    };
    if (document.visibilityState === "hidden") setTimeout(tell, 50);
    else requestAnimationFrame(tell);
  }

  // What a person is called here: from the record and from who is present.
  name = (id: string): string => this.names.get(id) ?? id;

  private learnNames(e: Ev): void {
    const { person, name } = e.facts ?? {};
    if (typeof person === "string" && typeof name === "string" && name) this.names.set(person, name);
    if (e.who && this.names.has(e.who.id)) e.who.name = this.name(e.who.id);
  }

  take(events: Ev[]): void {
    let side = false;
    for (const e of events) {
      if (!(e.seq > this.last)) continue; // seen already: a reconnection overlaps on purpose
      this.last = e.seq;
      this.learnNames(e);
      this.events.push(e);
      this.place(e);
      side ||= /^(action\.(verified|failed)|session\.|approval)/.test(e.kind);
    }
    if (side) this.refreshSide();
    this.changed();
  }

  private place(e: Ev): void {
    const act = e.kind.startsWith("action.") || (e.kind.startsWith("approval.") && !!e.ref) || e.kind === "guard.tightened";
    const key = e.ref ?? (e.refs?.length && act ? `#${e.refs[0]}` : "");
    const known = key ? (this.byRef.get(key) ?? (key.startsWith("#") ? this.bySeq.get(Number(key.slice(1))) : undefined)) : undefined;
    if (known && act) {
      known.events.push(e);
      this.bySeq.set(e.seq, known);
      refold(known);
      return;
    }
    const row: Row = {
      key: key || `#${e.seq}`, seq: e.seq, lastSeq: e.seq, at: e.at, end: e.at, events: [e], act: e.kind.startsWith("action."),
      quiet: QUIET.test(e.kind), title: (e.action && phrase(e.action.kind, e.action.args)) || e.action?.summary || deed(e, this.name) || e.title, kind: e.action?.kind ?? e.kind, mark: "note", said: "", search: "", who: e.who,
    };
    refold(row);
    if (key) this.byRef.set(key, row);
    this.bySeq.set(e.seq, row);
    this.rows.push(row);
  }

  rowOf(seq: number): Row | undefined {
    return this.bySeq.get(seq);
  }

  reached(_got: number, last: number): void {
    this.loadedOf = Math.max(this.loadedOf, last);
    if (this.last >= last) this.loaded = true;
    this.changed();
  }

  async refresh(): Promise<void> {
    const d = await api.session(this.id);
    this.detail = d;
    this.become(d.role);
    this.setPeople(d.people);
    this.control = d.control;
    this.changed();
  }

  // What is looked at now is asked for at once, and again as events come.
  want(tab: string): void {
    this.wanted = tab;
    if (tab === "diff" || tab === "findings") void this.fetchSide();
  }

  // Diff, findings and plan follow the events at a walking pace: each is a fold of the record on the server.
  refreshSide(): void {
    if (this.sideTimer) return;
    this.sideTimer = window.setTimeout(() => {
      this.sideTimer = 0;
      void this.fetchSide();
    }, this.sideVersion ? SIDE_MS : 300);
  }

  // Replay: diff and findings as of this row; null: as they are now.
  seek(seq: number | null): void {
    const upto = seq === null ? 0 : this.rowOf(seq)?.lastSeq ?? seq;
    if (upto === this.upto) return;
    this.upto = upto;
    clearTimeout(this.sideTimer);
    this.sideTimer = window.setTimeout(() => {
      this.sideTimer = 0;
      void this.fetchSide();
    }, 200);
  }

  private async fetchSide(): Promise<void> {
    const upto = this.upto;
    const found = await Promise.allSettled([
      this.wanted === "diff" ? api.diff(this.id, upto) : Promise.resolve(this.diff),
      this.wanted === "findings" || this.findings === null ? api.findings(this.id, upto) : Promise.resolve(this.findings),
      api.session(this.id),
    ]);
    if (upto !== this.upto) return; // the slider went on: a later answer is on its way
    const [diff, findings, detail] = found;
    if (diff.status === "fulfilled") this.diff = diff.value;
    if (findings.status === "fulfilled") this.findings = findings.value;
    if (detail.status === "fulfilled") this.detail = detail.value;
    const bad = found.find((r) => r.status === "rejected") as PromiseRejectedResult | undefined;
    this.sideTrouble = bad ? String((bad.reason as Error).message) : "";
    this.sideVersion++;
    this.changed();
  }

  setLink(link: Link): void {
    this.link = link;
    this.changed();
  }

  hello(role: Role, people: Person[], control: Control): void {
    this.become(role);
    this.setPeople(people);
    this.control = control;
    this.loaded = true;
    this.changed();
  }

  // Another role sees other text: what was seen under the old one is forgotten and fetched anew.
  private become(role: Role): void {
    if (role === this.role) return;
    this.role = role;
    if (!this.events.length) return;
    this.events = [];
    this.rows = [];
    this.last = 0;
    this.loaded = false;
    this.byRef.clear();
    this.bySeq.clear();
    this.diff = this.findings = null;
    this.refreshSide();
    this.connection.refill();
  }

  setPeople(people: Person[]): void {
    this.people = people;
    for (const p of people) this.names.set(p.id, p.name);
    const me = people.find((p) => p.id === this.mine);
    if (me) this.become(me.role);
    this.changed();
  }

  setControl(control: Control): void {
    this.control = control;
    this.changed();
  }

  refuse(error: Refused): void {
    this.link = "refused";
    this.refusal = { what: error.what, why: error.why, fix: error.fix };
    this.changed();
  }

  goodbye(why: string, fix: string): void {
    this.refusal = { what: why, why: "", fix };
    this.link = /server|restart|stop/i.test(why) ? "reconnecting" : "refused";
    this.changed();
  }
}
