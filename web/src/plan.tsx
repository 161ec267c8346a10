// What does the session intend, and where in it does it stand?
import { Rich } from "./rich";
import type { Room, Row } from "./room";
import { Empty, plural } from "./ui";

const SIGN = { done: "✓", now: "▸", next: "○", failed: "✕", dropped: "–" };
const WORD = { done: "done", now: "now", next: "to do", failed: "not solved", dropped: "left out" };

export function Plan({ room, rows }: { room: Room; rows: Row[] }) {
  const plan = room.detail?.plan ?? [];
  const counts = Object.entries(room.detail?.counts ?? {}).filter(([, n]) => typeof n === "number");
  const acts = rows.filter((r) => r.act);
  const sum = room.detail?.summary;
  const facts: [string, string | undefined][] = [["task", sum?.task], ["source", sum?.repository], ["wall", sum?.wall], ["law", sum?.law], ["model", sum?.model], ["result", sum?.result]];
  return (
    <div class="plan">
      <dl class="facts">
        {facts.filter(([, v]) => typeof v === "string" && v).map(([k, v]) => (
          <div key={k}><dt>{k}</dt><dd><Rich text={v!} /></dd></div>
        ))}
        <div>
          <dt>so far</dt>
          <dd>{plural(acts.length, "act")}: {(["done", "failed", "refused", "waits", "runs"] as const).map((m) => [m, acts.filter((a) => a.mark === m).length] as const).filter(([, n]) => n).map(([m, n]) => `${n} ${m === "waits" ? "waiting" : m === "runs" ? "running" : m}`).join(", ") || "none"}</dd>
        </div>
        {counts.length > 0 && <div><dt>counts</dt><dd>{counts.map(([k, n]) => `${k.replace(/_/g, " ")} ${n}`).join(", ")}</dd></div>}
      </dl>
      {plan.length ? (
        <ol class="steps">
          {plan.map((s, i) => (
            <li key={i} class={`p-${s.state}`}>
              <span class="sign" aria-hidden="true">{SIGN[s.state]}</span>
              <span><Rich text={s.text} /> <span class="dim small">{WORD[s.state]}</span></span>
            </li>
          ))}
        </ol>
      ) : (
        <Empty title="No written plan."><p class="dim">This kind of session decides from step to step.</p></Empty>
      )}
    </div>
  );
}
