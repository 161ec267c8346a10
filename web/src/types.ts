// What does the server tell the page? The shapes of /api/v1 as the page reads them.

export type Role = "owner" | "driver" | "approver" | "commenter" | "viewer";
export type Verdict = "allow" | "ask" | "deny";

export interface Who {
  id: string;
  name: string;
  kind?: string; // human, agent, veilig
}

// One event as this role may see it. `ref` joins the events of one action.
export interface Ev {
  seq: number;
  at: number; // ms since 1970
  kind: string;
  who?: Who;
  title: string;
  ref?: string;
  approval?: string;
  verdict?: Verdict;
  rule?: string;
  reason?: string;
  action?: { kind: string; digest?: string; summary?: string; args?: Record<string, unknown> };
  outcome?: { ok?: boolean; summary?: string; text?: string; truncated?: boolean; data?: Record<string, unknown> };
  vote?: string;
  handle?: string;
  text?: string; // of a comment, or of what was said to the session
  facts?: Record<string, unknown>;
  anchor?: number;
  refs?: number[];
}

export interface Person extends Who {
  role: Role;
  here?: boolean;
  at?: number; // the event this person looks at
}

export interface Control {
  holder: string | null;
  asks: string[];
  offer?: string | null; // to whom the holder offers it
}

export interface SessionRow {
  id: string;
  kind: string;
  task: string;
  state: string;
  repository: string;
  started_at: number;
  last_seq: number;
  role: Role;
  people: number | Person[];
  waiting: number;
}

export interface PlanStep {
  text: string;
  state: "done" | "now" | "next" | "failed" | "dropped";
}

export interface SessionDetail {
  summary: Partial<SessionRow> & { result?: string; wall?: string; law?: string; model?: string };
  role: Role;
  people: Person[];
  control: Control;
  plan: PlanStep[];
  counts: Record<string, number>;
}

export interface FlowStep {
  path: string;
  line: number;
  column?: number;
  text: string;
  what: string;
}

export interface Finding {
  id: string;
  kind?: string;
  title: string;
  message?: string;
  severity?: string;
  confidence?: string;
  cwe?: number;
  path: string;
  line: number;
  status?: string;
  fix?: string;
  why?: string;
  proof?: string[];
  flow?: FlowStep[];
  refs?: number[];
}

export interface Vote {
  who: Who;
  verdict: "approve" | "deny";
  reason?: string;
  at?: number;
}

export interface Need {
  gateway: string;
  roles: string[];
  quorum: number;
  have?: number;
}

export interface Approval {
  id: string;
  session: string;
  state: string; // open, approved, denied, expired, spent
  title: string;
  proposer: Who;
  why: string[];
  preview: string;
  touches: string[];
  effects: string[];
  missing: string;
  voted: boolean;
  classes: string[];
  needs: Need[];
  votes: Vote[];
  expires_at: number | null; // ms
  evidence: number[];
  digest: string;
  may_vote: boolean;
  may_not_why: string;
}

export interface Invite {
  id: string;
  role: Role;
  expires_at: number;
  used?: number;
  url?: string;
}

export interface Proof {
  seq?: number;
  leaf: string; // hex, as every hash here
  index: number; // 0-based
  size: number;
  path: string[];
  root: string; // of the ledger with `size` events
  entry?: string; // what the leaf is the hash of; in the place of the body its commitment
  salt?: string; // opens the commitment, with the body: for the owner alone
  body?: string;
  // The newest signed statement, and the proof that the ledger of today begins with what it vouches for.
  checkpoint?: { size: number; root: string; key: string; signature: string; wall_ms?: number; consistency: { size: number; root: string; path: string[] } } | null;
}

export interface Proofs {
  proofs: Proof[]; // each with size, root and checkpoint of the whole answer
  last: number;
  more: boolean;
}

export interface Me {
  person: Who | null;
  csrf: string;
  may: { start: boolean; admin: boolean };
}

export type Live =
  | { t: "hello"; seq: number; role: Role; people: Person[]; control: Control }
  | { t: "event"; e: Ev }
  | { t: "people"; people: Person[] }
  | { t: "control"; holder: string | null; asks: string[]; offered?: string }
  | { t: "resync"; after: number }
  | { t: "bye"; why: string; fix?: string }
  | { t: "pong" };
