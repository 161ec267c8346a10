// Which weaknesses and failures were found, how does the data get there, and what became of each?
import { useState } from "preact/hooks";
import { Rich } from "./rich";
import type { Finding } from "./types";
import { Empty } from "./ui";

const ORDER = ["critical", "high", "medium", "low", "info", ""];

export function Findings({ findings }: { findings: Finding[] | null }) {
  const [open, setOpen] = useState("");
  if (!findings?.length) return <Empty title="No finding."><p class="dim">What a scan or the tests find is listed here with the way the data takes.</p></Empty>;
  const sorted = [...findings].sort((a, b) => ORDER.indexOf(a.severity ?? "") - ORDER.indexOf(b.severity ?? ""));
  const fixed = findings.filter((f) => f.status === "fixed").length;
  return (
    <div class="findings">
      <p class="small row">
        <b>{findings.length} found</b>
        {fixed > 0 && <span class="good">{fixed} fixed</span>}
      </p>
      <ol>
        {sorted.map((f) => (
          <li key={f.id} class="finding">
            <button class="frow" aria-expanded={open === f.id} onClick={() => setOpen(open === f.id ? "" : f.id)}>
              <span class={`sev s-${f.severity || "none"}`}>{f.severity || f.kind || "-"}</span>
              <span class="ftitle">{f.title}</span>
              <span class="mono fplace">{f.path}{f.line ? `:${f.line}` : ""}</span>
              <span class={`fstatus ${f.status === "fixed" ? "good" : "dim"}`}>{f.status ?? "found"}</span>
            </button>
            {open === f.id && <One finding={f} />}
          </li>
        ))}
      </ol>
    </div>
  );
}

function One({ finding: f }: { finding: Finding }) {
  return (
    <div class="fdetail">
      {f.message && <p><Rich text={f.message} /></p>}
      {f.flow && f.flow.length > 0 && (
        <ol class="flow" aria-label="Data flow">
          {f.flow.map((s, i) => (
            <li key={i} class={i === 0 ? "source" : i === f.flow!.length - 1 ? "sink" : ""}>
              <span class="mono place">{s.path}:{s.line}</span>
              <span class="what">{i === 0 ? "source: " : i === f.flow!.length - 1 ? "sink: " : ""}<Rich text={s.what} /></span>
              {s.text && <code class="pre"><Rich text={s.text} /></code>}
            </li>
          ))}
        </ol>
      )}
      <dl class="facts">
        {f.fix && <div><dt>{f.status === "fixed" ? "fixed by" : "proposed"}</dt><dd><Rich text={f.fix} /></dd></div>}
        {f.why && <div><dt>why</dt><dd><Rich text={f.why} /></dd></div>}
        {f.proof && f.proof.length > 0 && <div><dt>proof</dt><dd>{f.proof.join("; ")}</dd></div>}
        {f.confidence && <div><dt>confidence</dt><dd>{f.confidence}</dd></div>}
        {f.cwe ? <div><dt>class</dt><dd><a href={`https://cwe.mitre.org/data/definitions/${f.cwe}.html`} rel="noreferrer noopener" target="_blank">CWE-{f.cwe}</a></dd></div> : null}
      </dl>
    </div>
  );
}
