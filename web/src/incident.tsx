// How did it go over time? Acts as marks on one axis, one lane per thing that was acted on.
import type { Row } from "./room";
import { clock, Empty, GLYPH, span } from "./ui";

const W = 800;
const LANE = 30;
const LEFT = 130;

function subject(row: Row): string {
  const a = row.events.find((e) => e.action)?.action?.args ?? {};
  for (const k of ["service", "container", "database", "deployment", "group", "path"]) {
    const v = a[k];
    if (typeof v === "string" && v) return v;
  }
  return row.kind.split(".")[0] ?? row.kind;
}

export function Incident({ rows, go }: { rows: Row[]; go: (seq: number) => void }) {
  const acts = rows.filter((r) => r.act);
  if (acts.length < 2) return <Empty title="No course yet."><p class="dim">When the session acts on something, this shows what it did when.</p></Empty>;
  const byLane = new Map<string, Row[]>();
  for (const r of acts) {
    const s = subject(r);
    byLane.set(s, [...(byLane.get(s) ?? []), r]);
  }
  const lanes = [...byLane.entries()].sort((a, b) => a[1][0]!.at - b[1][0]!.at).slice(0, 24);
  const begin = acts[0]!.at;
  const end = Math.max(...acts.map((r) => r.end), begin + 1);
  const x = (at: number): number => LEFT + ((W - LEFT - 14) * (at - begin)) / (end - begin);
  const height = lanes.length * LANE + 34;
  const ticks = [0, 0.25, 0.5, 0.75, 1];
  return (
    <div class="incident">
      <div class="scrollx" tabIndex={0} role="region" aria-label="Course over time">
        <svg viewBox={`0 0 ${W} ${height}`} role="img" aria-label={`${acts.length} acts over ${span(end - begin)}; the list below says the same`}>
          {ticks.map((t) => (
            <g key={t}>
              <line class="axis" x1={x(begin + t * (end - begin))} x2={x(begin + t * (end - begin))} y1={6} y2={height - 22} />
              <text class="tick" x={x(begin + t * (end - begin))} y={height - 6} text-anchor={t === 0 ? "start" : t === 1 ? "end" : "middle"}>{t === 0 ? clock(begin) : `+${span(t * (end - begin))}`}</text>
            </g>
          ))}
          {lanes.map(([name, list], i) => (
            <g key={name}>
              <text class="lane" x={4} y={i * LANE + 26}>{name.length > 18 ? `…${name.slice(-17)}` : name}</text>
              {list.map((r) => (
                <g key={r.key} class={`act m-${r.mark}`} onClick={() => go(r.seq)}>
                  <title>{`#${r.seq} ${clock(r.at)} ${r.title}: ${r.said}`}</title>
                  <rect x={x(r.at)} y={i * LANE + 12} width={Math.max(9, x(r.end) - x(r.at))} height={18} rx={2} />
                  <text x={x(r.at) + 4.5} y={i * LANE + 25} text-anchor="middle">{GLYPH[r.mark]}</text>
                </g>
              ))}
            </g>
          ))}
        </svg>
      </div>
      <ol class="course">
        {acts.filter((r) => r.mark !== "done" || !/^(audit|workspace|history)\./.test(r.kind)).slice(-60).map((r) => (
          <li key={r.key}>
            <button class="plain" onClick={() => go(r.seq)}>
              <span class="dim num">+{span(r.at - begin)}</span><span class={`o-${r.mark}`}>{GLYPH[r.mark]} {r.said}</span><span>{r.title}</span>
            </button>
          </li>
        ))}
      </ol>
    </div>
  );
}
