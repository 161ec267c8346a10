// What exactly is behind one row? The act, the decision and its rule, the outcome, what people said, the proof.
import { useState } from "preact/hooks";
import { api } from "./api";
import { check, type Checked } from "./proof";
import { Rich } from "./rich";
import { Screen } from "./terminal";
import { printed, type Room, type Row } from "./room";
import { clock, CopyButton, Notice, span, trouble, type Trouble } from "./ui";

const TEXT_MAX = 20000;
const VERDICT = { allow: "allowed", ask: "asks people", deny: "denied" };

function value(v: unknown, key = ""): string {
  if (Array.isArray(v) && v.every((x) => typeof x === "string")) return key === "argv" ? v.map((x) => (/^[\w./:=@%+,-]+$/.test(x) ? x : JSON.stringify(x))).join(" ") : v.join("\n");
  if (typeof v !== "string") return JSON.stringify(v, null, 1);
  if (!/^[[{]/.test(v)) return v;
  try {
    return JSON.stringify(JSON.parse(v), null, 1); // an argument that is JSON inside
  } catch {
    return v;
  }
}

export function Verify({ room, seq }: { room: Room; seq: number }) {
  const [found, setFound] = useState<Checked | null>(null);
  const [error, setError] = useState<Trouble | null>(null);
  const [busy, setBusy] = useState(false);
  return (
    <span class="verify">
      <button
        disabled={busy}
        onClick={async () => {
          setBusy(true);
          setError(null);
          try {
            setFound(await check(await api.proof(room.id, seq), seq));
          } catch (e) {
            setError(trouble(e));
          }
          setBusy(false);
        }}
      >
        {busy ? "Checking …" : `Verify #${seq}`}
      </button>
      {found && (
        <span class={found.ok ? "good" : "bad"} role="status">
          {found.ok ? `in the ledger of ${found.size} events, root ${found.root.slice(0, 16)}…${found.signed ? ", signed" : ", not yet signed"}` : `not proved: ${found.why}`}
        </span>
      )}
      <Notice of={error} />
    </span>
  );
}

export function Detail({ room, row, comment }: { room: Room; row: Row; comment: (seq: number) => void }) {
  const first = row.events[0]!;
  const action = row.events.find((e) => e.action)?.action;
  const output = printed(row);
  const said = room.events.filter((e) => e.anchor !== undefined && e.anchor >= row.seq && e.anchor <= row.lastSeq && !row.events.includes(e));
  const args = Object.entries(action?.args ?? {}).filter(([k, v]) => k !== "kind" && v !== "" && v !== null && !(Array.isArray(v) && !v.length));
  return (
    <div class="detail">
      <dl class="facts">
        {first.who && (
          <div>
            <dt>by</dt>
            <dd>
              {first.who.name} <span class="dim">{first.who.kind}</span>
            </dd>
          </div>
        )}
        {action && (
          <div>
            <dt>act</dt>
            <dd class="mono">{action.kind}</dd>
          </div>
        )}
        {args.map(([k, v]) => (
          <div key={k}>
            <dt>{k}</dt>
            <dd class="mono pre">
              <Rich text={value(v, k).slice(0, 2000)} />
            </dd>
          </div>
        ))}
        {row.verdict && (
          <div>
            <dt>decision</dt>
            <dd>
              <b class={`v-${row.verdict}`}>{VERDICT[row.verdict]}</b> {row.rule && <>by <span class="mono">{row.rule}</span></>}
            </dd>
          </div>
        )}
        {row.reason && (
          <div>
            <dt>because</dt>
            <dd>
              <Rich text={row.reason} />
            </dd>
          </div>
        )}
        {row.approval && (
          <div>
            <dt>approval</dt>
            <dd>
              <a href={`#/approvals/${row.approval}`}>{row.approval}</a>
            </dd>
          </div>
        )}
        {row.outcome && (
          <div>
            <dt>outcome</dt>
            <dd class="pre">
              <span class={`o-${row.mark}`}>{row.said}</span> <Rich text={row.outcome.slice(0, 2000)} />
            </dd>
          </div>
        )}
        {!row.act && !row.outcome && (
          <div>
            <dt>said</dt>
            <dd class="pre">
              <Rich text={first.text ?? first.title} />
            </dd>
          </div>
        )}
        {!row.act &&
          Object.entries(first.facts ?? {})
            .filter(([, v]) => v !== "" && v !== null && !(Array.isArray(v) && !v.length))
            .map(([k, v]) => (
              <div key={k}>
                <dt>{k.replace(/_/g, " ")}</dt>
                <dd class="mono pre">
                  <Rich text={value(v, k).slice(0, 2000)} />
                </dd>
              </div>
            ))}
        {action?.digest && (
          <div>
            <dt>digest</dt>
            <dd class="mono dim">{action.digest.slice(0, 32)}…</dd>
          </div>
        )}
      </dl>
      {output.text && row.kind !== "workspace.diff" && (
        <figure class="out">
          <Screen text={output.text.slice(-TEXT_MAX)} />
          {(output.cut || output.text.length > TEXT_MAX) && <figcaption class="dim">shortened; all that was kept stands in the ledger</figcaption>}
        </figure>
      )}
      {said.map((e) => (
        <p class="said" key={e.seq}>
          <b>{e.who?.name}</b> <span class="dim">{clock(e.at)} #{e.seq}</span> <Rich text={e.text ?? e.title} />
        </p>
      ))}
      <p class="trail dim">
        {row.events.map((e, i) => (
          <span key={e.seq}>
            #{e.seq} {e.kind.replace(/^action\./, "")}
            {i > 0 ? ` +${span(e.at - first.at)}` : ` ${clock(e.at)}`}
          </span>
        ))}
      </p>
      <div class="row">
        <button onClick={() => comment(row.seq)}>Comment</button>
        <Verify room={room} seq={row.lastSeq} />
        <CopyButton text={`${location.origin}/#/s/${room.id}/${row.seq}`} label="Copy link" />
      </div>
    </div>
  );
}
