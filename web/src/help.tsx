// Which keys are there, and what do the marks mean?
import { useState } from "preact/hooks";
import { keysOn, setKeysOn } from "./keys";
import { SAID, type Mark } from "./room";
import { Dialog, Glyph } from "./ui";

const KEYS: [string, string][] = [
  ["j  k", "next, previous row"],
  ["Enter", "open or close the row"],
  ["/", "search"],
  ["a", "approve (on an approval)"],
  ["d", "deny (on an approval)"],
  ["c", "comment on the chosen event"],
  ["s", "speak to the session"],
  ["1 … 6", "terminal, diff, plan, findings, incident, ledger"],
  ["[  ]", "replay: one row back, forward"],
  ["l", "back to live"],
  ["g  w", "sessions, approvals"],
  ["Esc", "leave a field, close a dialog"],
];
const MARKS: Mark[] = ["done", "runs", "waits", "failed", "refused", "doubt"];

export function Help({ close }: { close: () => void }) {
  const [on, setOn] = useState(keysOn());
  return (
    <Dialog title="Keys and marks" onClose={close}>
      <dl class="keys">
        {KEYS.map(([k, what]) => (
          <div key={k}>
            <dt>{k.split("  ").map((x) => <kbd key={x}>{x}</kbd>)}</dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <h3>Marks</h3>
      <ul class="marks">
        {MARKS.map((m) => (
          <li key={m}>
            <Glyph mark={m} /> {SAID[m]}
          </li>
        ))}
      </ul>
      <p class="dim">‹secret:NAME#n› stands for a secret. The value is not in the record; the owner can reveal it where the machine still has it, and that is recorded.</p>
      <label class="check">
        <input type="checkbox" checked={on} onChange={(e) => { setKeysOn(e.currentTarget.checked); setOn(e.currentTarget.checked); }} /> single keys do something
      </label>
    </Dialog>
  );
}
