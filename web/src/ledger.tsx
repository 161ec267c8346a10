// Is the record whole? Every event as recorded, and its proof checked in this browser.
import { useState } from "preact/hooks";
import { api } from "./api";
import { check } from "./proof";
import type { Room } from "./room";
import { clock, Empty, Notice, plural, trouble, type Trouble } from "./ui";

const AT_ONCE = 2;
const PAGE = 100;
const QUICK = 20; // the first come at once; then as fast as the server lets one person ask beside all else
const PACE_MS = 600;

interface Tally {
  good: number;
  of: number;
  bad: { seq: number; why: string }[];
  root: string;
  size: number;
  signed: number;
  whole: number;
  key: string;
  roots: number;
  running: boolean;
}

export function LedgerView({ room, go }: { room: Room; go: (seq: number) => void }) {
  const [tally, setTally] = useState<Tally | null>(null);
  const [checked, setChecked] = useState<Map<number, boolean>>(new Map());
  const [error, setError] = useState<Trouble | null>(null);
  const [page, setPage] = useState(0);
  const pages = Math.max(1, Math.ceil(room.events.length / PAGE));
  const events = room.events.slice(page * PAGE, (page + 1) * PAGE);

  const verify = async (): Promise<void> => {
    setError(null);
    const todo = events.map((e) => e.seq);
    const t: Tally = { good: 0, of: todo.length, bad: [], root: "", size: 0, signed: 0, whole: 0, key: "", roots: 0, running: true };
    const marks = new Map(checked);
    const roots = new Set<string>();
    setTally({ ...t });
    const queue = [...todo];
    const work = async (): Promise<void> => {
      for (let seq = queue.shift(); seq !== undefined; seq = queue.shift()) {
        if (t.good + t.bad.length > QUICK) await new Promise((go) => setTimeout(go, PACE_MS));
        const c = await check(await api.proof(room.id, seq), seq);
        marks.set(seq, c.ok);
        if (c.ok) {
          t.good++;
          if (c.signed) t.signed++;
          if (c.whole) t.whole++;
        }
        else t.bad.push({ seq, why: c.why });
        roots.add(`${c.size}:${c.root}`);
        if (c.size >= t.size) Object.assign(t, { root: c.root, size: c.size, key: c.key || t.key });
        if ((t.good + t.bad.length) % 5 === 0) setTally({ ...t });
      }
    };
    try {
      await Promise.all(Array.from({ length: AT_ONCE }, work));
    } catch (e) {
      setError(trouble(e));
    }
    t.running = false;
    t.roots = roots.size;
    setChecked(marks);
    setTally({ ...t });
  };

  if (!room.events.length) return <Empty title="No event yet." />;
  return (
    <div class="ledger" data-testid="ledger">
      <div class="row">
        <button class="primary" disabled={tally?.running} onClick={verify}>
          {tally?.running ? `Checking ${tally.good + tally.bad.length} of ${tally.of}` : pages > 1 ? "Verify this page" : "Verify"}
        </button>
        <p class="small dim grow">Proofs of RFC 9162, computed here with SHA-256: each event is in the ledger with this root, and the ledger begins with what its last signed checkpoint vouches for. Compare the root with one kept outside this host.</p>
      </div>
      {tally && !tally.running && (
        <p role="status" class={tally.bad.length || tally.good < tally.of ? "verdict bad" : "verdict good"} data-testid="ledger-verdict">
          {tally.good} of {plural(tally.of, "event")} proved{tally.bad.length ? `; not proved: ${tally.bad.slice(0, 5).map((b) => `#${b.seq} (${b.why})`).join(", ")}` : ""}.
          <br />
          <span class="small">
            root <span class="mono">{tally.root}</span> of {tally.size} events{tally.roots > 1 ? ` (${tally.roots} roots while it grew)` : ""};{" "}
            {tally.signed ? `${tally.signed} covered by a checkpoint signed by key ${tally.key}` : "no signed checkpoint covers them yet"};{" "}
            {tally.whole ? `the text of ${tally.whole} hashed here` : "only leaves: the full text is the owner's"}
          </span>
        </p>
      )}
      <Notice of={error} />
      <div class="tablebox" tabIndex={0} role="region" aria-label="Events">
        <table class="list small">
          <thead>
            <tr><th scope="col" class="num">Event</th><th scope="col">Time</th><th scope="col">Kind</th><th scope="col">What</th><th scope="col">Proof</th></tr>
          </thead>
          <tbody>
            {events.map((e) => (
              <tr key={e.seq}>
                <td class="num"><button class="plain" onClick={() => go(e.seq)}>#{e.seq}</button></td>
                <td class="num">{clock(e.at)}</td>
                <td class="mono">{e.kind}</td>
                <td class="clip">{e.title}</td>
                <td>{checked.has(e.seq) ? checked.get(e.seq) ? <span class="good">✓ proved</span> : <span class="bad">✕ not proved</span> : <span class="dim">not checked</span>}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {pages > 1 && (
        <p class="row small">
          <button disabled={page === 0} onClick={() => setPage(page - 1)}>← earlier</button>
          page {page + 1} of {pages}
          <button disabled={page >= pages - 1} onClick={() => setPage(page + 1)}>later →</button>
        </p>
      )}
    </div>
  );
}
