// How does the page ask the server? Every request goes through `ask`; every answer is brought into shape here.
import { phrase } from "./phrase";
import type { Approval, Control, Ev, Finding, FlowStep, Invite, Me, Person, PlanStep, Proof, Proofs, SessionDetail, SessionRow, Who } from "./types";

const BASE = "/api/v1/";
const PATIENCE = 8; // times that a question is asked again when the server says that it is too many
let csrf = "";

export class Refused extends Error {
  constructor(
    public status: number,
    public what: string,
    public why: string,
    public fix: string,
  ) {
    super(what);
  }
}

type Any = Record<string, any>;

export async function ask<T = Any>(method: string, path: string, body?: unknown): Promise<T> {
  const headers: Record<string, string> = { Accept: "application/json" };
  if (method !== "GET") headers["X-CSRF-Token"] = csrf;
  const raw = body instanceof Blob;
  if (body !== undefined && !raw) headers["Content-Type"] = "application/json";
  if (raw) headers["Content-Type"] = (body as Blob).type || "application/octet-stream";
  const init: RequestInit = { method, headers, credentials: "same-origin" };
  if (body !== undefined) init.body = raw ? (body as Blob) : JSON.stringify(body);
  let answer: Response;
  for (let turn = 0; ; turn++) {
    try {
      answer = await fetch(BASE + path, init);
    } catch {
      throw new Refused(0, "The server does not answer", "the connection failed", "nothing was lost; try again in a moment");
    }
    // Only questions are asked again by themselves; what changes something is for the person to repeat.
    if (answer.status !== 429 || method !== "GET" || turn >= PATIENCE) break;
    const wait_s = Number(answer.headers.get("retry-after")) || 1;
    await new Promise((go) => setTimeout(go, Math.min(wait_s, 10) * 1000 + Math.random() * 500));
  }
  const text = await answer.text();
  const json = (answer.headers.get("content-type") ?? "").includes("json");
  let found: any = text;
  if (json) {
    try {
      found = text ? JSON.parse(text) : {};
    } catch {
      throw new Refused(answer.status, "The server's answer cannot be read", "it is no JSON", "reload the page");
    }
  }
  if (!answer.ok) {
    const e = (json && found.error) || {};
    throw new Refused(answer.status, e.what ?? `The server answered ${answer.status}`, e.why ?? "", e.fix ?? "");
  }
  return found as T;
}

const get = <T = Any>(path: string): Promise<T> => ask<T>("GET", path);
const post = <T = Any>(path: string, body: unknown = {}): Promise<T> => ask<T>("POST", path, body);
const enc = encodeURIComponent;

const list = (v: unknown): any[] => (Array.isArray(v) ? v : []);
const text = (v: unknown): string => (typeof v === "string" ? v : v === undefined || v === null ? "" : String(v));
const ms = (v: unknown): number => (typeof v === "number" ? v : typeof v === "string" ? Date.parse(v) || 0 : 0);

export function who(v: unknown): Who {
  if (typeof v === "string") {
    const name = v.includes(":") ? v.slice(v.indexOf(":") + 1) : v;
    return { id: v, name, kind: v.includes(":") ? v.slice(0, v.indexOf(":")) : "person" };
  }
  const o = (v ?? {}) as Any;
  return { id: text(o.id ?? o.name), name: text(o.name ?? o.id), kind: o.kind };
}

export function people(v: unknown): Person[] {
  return list(v).map((p) => ({ ...who(p), role: p.role ?? "viewer", here: p.here ?? false, at: p.at || undefined }));
}

export function control(v: unknown): Control {
  const o = (v ?? {}) as Any;
  const id = (x: any): string => (typeof x === "string" ? x : (x?.id ?? ""));
  return { holder: o.holder ? id(o.holder) : null, asks: list(o.asks).map(id), offer: o.offered ? id(o.offered) : null };
}

function plan(v: unknown): PlanStep[] {
  const states: Record<string, PlanStep["state"]> = {
    done: "done", fixed: "done", completed: "done", verified: "done",
    now: "now", active: "now", in_progress: "now", running: "now",
    failed: "failed", unfixed: "failed", refused: "failed", dropped: "dropped", skipped: "dropped",
  };
  return list(Array.isArray(v) ? v : (v as Any)?.steps ?? (v as Any)?.items).map((s) =>
    typeof s === "string"
      ? { text: s, state: "next" }
      : { text: text(s.text ?? s.title ?? s.step), state: states[text(s.state ?? s.status)] ?? "next" },
  );
}

function row(o: Any): SessionRow {
  return {
    id: text(o.id), kind: text(o.kind), task: text(o.task), state: text(o.state), repository: text(o.repository),
    started_at: ms(o.started_at), last_seq: o.last_seq ?? 0, role: o.role ?? "viewer", people: o.people ?? 0, waiting: o.waiting ?? 0,
  };
}

export function event(o: Any): Ev {
  return { ...o, seq: o.seq, at: ms(o.at), kind: text(o.kind), title: text(o.title || o.kind) } as Ev;
}

function finding(o: Any): Finding {
  const flow = list(o.flow ?? o.steps).map(
    (s): FlowStep => ({ path: text(s.path ?? o.path), line: s.line ?? 0, column: s.column, text: text(s.text), what: text(s.what ?? s.note) }),
  );
  return {
    ...(o as Finding),
    id: text(o.id ?? o.fingerprint ?? `${o.path}:${o.line}:${o.title}`),
    title: text(o.title || o.rule || o.message), path: text(o.path), line: o.line ?? 0, flow,
    proof: list(o.proof).map(text),
  };
}

function touched(blast: Any): string[] {
  const found = list(blast.touches).flatMap((t) => (Array.isArray(t) ? [t.every((x: unknown) => typeof x === "string") && blast.kind === "command.run" ? t.join(" ") : t].flat() : [t])).map(text);
  const target = text(blast.target);
  const all = found.filter(Boolean);
  if (target && !all.includes(target)) all.unshift(target);
  if (blast.scope) all.push(`scope: ${text(blast.scope)}`);
  return all;
}

// The files that a preview which is a diff changes.
const changed = (o: Any): string[] => [...text(o.preview).matchAll(/^diff --git a\/.* b\/(.*)$/gm)].map((m) => m[1] ?? "");

// A question's preview may begin with a diff, which is no title.
function headline(o: Any): string {
  const act = list(o.evidence).find((e) => e?.action?.kind)?.action;
  const said = act ? phrase(text(act.kind), act.args) : "";
  if (said) return said;
  const files = changed(o);
  if (files.length) return `Change ${files.length === 1 ? files[0] : `${files.length} files: ${files.slice(0, 3).join(", ")}${files.length > 3 ? " …" : ""}`}`;
  return text(o.title || o.preview || o.id);
}

function approval(o: Any): Approval {
  const votes = list(o.votes ?? o.ballots).map((v) => ({
    who: who(v.who ?? v.actor),
    verdict: v.verdict === "deny" || v.vote === "deny" ? ("deny" as const) : ("approve" as const),
    reason: text(v.reason), at: ms(v.at),
  }));
  const needs = list(o.needs ?? (o.quorum ? [{ gateway: "", roles: o.roles ?? [], quorum: o.quorum }] : [])).map((n) => ({
    gateway: text(n.gateway), roles: list(n.roles).map(text), quorum: n.quorum ?? 1, have: n.have,
  }));
  const blast = (o.blast_radius ?? {}) as Any;
  const lines = (v: unknown): string[] => (typeof v === "string" ? (v ? [v] : []) : list(v).map((x) => (typeof x === "string" ? x : JSON.stringify(x))));
  return {
    id: text(o.id), session: text(o.session), state: text(o.state || "open"), title: headline(o),
    proposer: who(o.proposer), why: lines(o.why), preview: text(o.preview), touches: [...touched(blast), ...changed(o)], effects: lines(blast.effects), missing: text(o.missing_text), voted: !!o.voted,
    classes: needs.map((n) => n.gateway).filter(Boolean), needs, votes,
    expires_at: typeof o.expires_at === "number" ? o.expires_at : typeof o.expires_s === "number" ? Date.now() + o.expires_s * 1000 : null,
    evidence: list(o.evidence).map((e) => (typeof e === "number" ? e : e.seq)).filter((n) => typeof n === "number"),
    digest: text(o.digest), may_vote: !!o.may_vote && !o.voted, may_not_why: o.voted ? "you have voted" : text(o.may_not_why),
  };
}

const s = (id: string): string => `sessions/${enc(id)}`;

export const api = {
  async me(): Promise<Me> {
    const m = await get("me");
    csrf = text(m.csrf);
    return { person: m.person ? who(m.person) : null, csrf, may: { start: !!m.may?.start, admin: !!m.may?.admin } };
  },
  signIn: (name: string, password: string) => post("auth/sign-in", { name, password }),
  signOut: () => post("auth/sign-out"),
  accept: (token: string, name?: string) => post("invites/accept", name ? { token, name } : { token }),
  providers: async (): Promise<{ id: string; name: string; url: string }[]> =>
    list((await get("auth/providers")).providers)
      .map((p) => ({ id: text(p.id), name: text(p.name ?? p.id), url: text(p.url ?? p.start) }))
      .filter((p) => p.url),
  sessions: async (q: string, state: string): Promise<SessionRow[]> =>
    list((await get(`sessions?q=${enc(q)}&state=${enc(state)}`)).sessions).map(row),
  start: (body: unknown) => post<{ id: string; url?: string }>("sessions", body),
  upload: (file: Blob) => post<{ upload: string; files: number; size_bytes: number }>("uploads", file),
  repositories: async (): Promise<string[]> =>
    list((await get("repositories")).repositories).map((r) => (typeof r === "string" ? r : text(r.path ?? r.name))),
  services: async (): Promise<string[]> => list((await get("services")).services).map((r) => text(r.path)),
  session: async (id: string): Promise<SessionDetail> => {
    const d = await get(s(id));
    const sum = d.summary ?? d;
    return {
      summary: typeof sum === "string" ? { task: sum } : { ...sum, ...row(sum) }, role: d.role ?? sum.role ?? "viewer",
      people: people(d.people), control: control(d.control), plan: plan(d.plan), counts: d.counts ?? {},
    };
  },
  events: async (id: string, after: number, limit = 1000): Promise<{ events: Ev[]; last: number; more: boolean }> => {
    const d = await get(`${s(id)}/events?after=${after}&limit=${limit}`);
    return { events: list(d.events).map(event), last: d.last ?? 0, more: !!d.more };
  },
  say: (id: string, words: string, anchor?: number) => post(`${s(id)}/say`, { text: words, ...(anchor ? { anchor } : {}) }),
  comment: (id: string, words: string, anchor?: number) => post(`${s(id)}/comments`, { text: words, ...(anchor ? { anchor } : {}) }),
  control: async (id: string, act: string, to?: string): Promise<Control | null> => {
    const d = await post(`${s(id)}/control`, to ? { act, to } : { act });
    const c = d.control ?? d;
    return "holder" in c ? control(c) : null;
  },
  resume: (id: string) => post(`${s(id)}/resume`),
  stop: (id: string) => post(`${s(id)}/stop`),
  reveal: async (id: string, handle: string, reason: string): Promise<string> => text((await post(`${s(id)}/reveal`, { handle, reason })).value),
  invite: async (id: string, role: string, expires_s: number): Promise<Invite> => {
    const d = await post(`${s(id)}/invites`, { role, expires_s });
    const i = d.invite ?? d;
    const token = text(i.token ?? d.token);
    return { ...i, id: text(i.id), url: new URL(text(i.url ?? d.url) || `/#/join/${token}`, location.origin).href, expires_at: ms(i.expires_at) || Date.now() + expires_s * 1000, role: i.role ?? role };
  },
  invites: async (id: string): Promise<Invite[]> =>
    list((await get(`${s(id)}/invites`)).invites).map((i) => ({ ...i, id: text(i.id), role: i.role, expires_at: ms(i.expires_at) })),
  revoke: (id: string, invite: string) => ask("DELETE", `${s(id)}/invites/${enc(invite)}`),
  role: (id: string, person: string, role: string) => post(`${s(id)}/people/${enc(person)}`, { role }),
  approvals: async (every = false): Promise<Approval[]> => list((await get(`approvals${every ? "?all=1" : ""}`)).approvals).map(approval),
  approval: async (id: string): Promise<Approval> => {
    const d = await get(`approvals/${enc(id)}`);
    return approval(d.approval ?? d);
  },
  vote: (id: string, verdict: "approve" | "deny", reason: string) => post(`approvals/${enc(id)}`, { verdict, reason }),
  diff: async (id: string, upto = 0): Promise<string> => {
    const d = await get<any>(`${s(id)}/diff?upto=${upto}`);
    return typeof d === "string" ? d : text(d.diff);
  },
  findings: async (id: string, upto = 0): Promise<Finding[]> => list((await get(`${s(id)}/findings?upto=${upto}`)).findings).map(finding),
  proof: (id: string, seq: number): Promise<Proof> => get<Proof>(`${s(id)}/proof?seq=${seq}`),
  proofs: async (id: string, after: number, limit: number): Promise<Proofs> => {
    const d = await get(`${s(id)}/proofs?after=${after}&limit=${limit}`);
    const same = { size: d.size, root: d.root, checkpoint: d.checkpoint };
    return { proofs: list(d.proofs).map((p) => ({ ...p, ...same })), last: d.last, more: !!d.more };
  },
  exportUrl: (id: string, format: string): string => `${BASE}${s(id)}/export?format=${format}`,
  liveUrl: (id: string, after: number): string =>
    `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${BASE}${s(id)}/live?after=${after}`,
  streamUrl: (id: string, after: number): string => `${BASE}${s(id)}/stream?after=${after}`,
};
