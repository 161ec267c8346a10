// Is the record whole? Every event as recorded, and its proof checked in this browser.
import { useState } from "preact/hooks";
import { api } from "./api";
import { check } from "./proof";
import type { Room } from "./room";
import { clock, Empty, Notice, plural, trouble, type Trouble } from "./ui";

const AT_ONCE = 500; // proofs of one answer
const PAGE = 100;

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
  missing: number[]; // shown here, and no proof came
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
    const shown = room.events.map((e) => e.seq); // those that come while proofs are fetched may be behind them
    const t: Tally = { good: 0, of: 0, bad: [], root: "", size: 0, signed: 0, whole: 0, key: "", roots: 0, missing: [], running: true };
    const marks = new Map<number, boolean>();
    const roots = new Set<string>();
    setTally({ ...t });
    try {
      for (let after = 0, more = true; more; ) {
        const some = await api.proofs(room.id, after, AT_ONCE);
        for (const proof of some.proofs) {
          const seq = proof.seq ?? 0;
          const c = await check(proof, seq);
          marks.set(seq, c.ok);
          t.of++;
          if (c.ok) {
            t.good++;
            if (c.signed) t.signed++;
            if (c.whole) t.whole++;
          } else t.bad.push({ seq, why: c.why });
          roots.add(`${c.size}:${c.root}`);
          if (c.size >= t.size) Object.assign(t, { root: c.root, size: c.size, key: c.key || t.key });
          if (t.of % 50 === 0) setTally({ ...t });
        }
        if (some.more && some.last <= after) throw new Error("the server repeats itself");
        ({ last: after, more } = some);
      }
    } catch (e) {
      setError(trouble(e));
    }
    t.running = false;
    t.roots = roots.size;
    t.missing = shown.filter((seq) => !marks.has(seq));
    setChecked(marks);
    setTally({ ...t });
  };

  if (!room.events.length) return <Empty title="No event yet." />;
  return (
    <div class="ledger" data-testid="ledger">
      <div class="row">
        <button class="primary" disabled={tally?.running} onClick={verify}>
          {tally?.running ? `Checking, ${tally.good} proved` : "Verify"}
        </button>
        <p class="small dim grow">Proofs of RFC 9162, computed here with SHA-256: each event is in the ledger with this root, and the ledger begins with what its last signed checkpoint vouches for. Compare the root with one kept outside this host.</p>
      </div>
      {tally && !tally.running && (
        <p role="status" class={tally.bad.length || tally.missing.length || !tally.good ? "verdict bad" : "verdict good"} data-testid="ledger-verdict">
          {tally.good} of {plural(tally.of, "event")} proved{tally.bad.length ? `; not proved: ${tally.bad.slice(0, 5).map((b) => `#${b.seq} (${b.why})`).join(", ")}` : ""}{tally.missing.length ? `; no proof came for ${tally.missing.slice(0, 5).map((n) => `#${n}`).join(", ")}${tally.missing.length > 5 ? ` and ${tally.missing.length - 5} more` : ""}` : ""}.
          <br />
          <span class="small">
            root <span class="mono">{tally.root}</span> of {tally.size} events{tally.roots > 1 ? ` (${tally.roots} roots while it grew)` : ""};{" "}
            {tally.signed ? `${tally.signed} covered by a checkpoint signed by key ${tally.key}` : "no signed checkpoint covers them yet"};{" "}
            {tally.whole ? `the text of ${tally.whole} hashed here` : "of each text only its commitment: the full text is the owner's"}
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
