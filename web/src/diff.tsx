// What would change in the files? A unified diff, per file, with line numbers.
import { useMemo, useState } from "preact/hooks";
import { Rich } from "./rich";
import { CopyButton, Empty } from "./ui";

interface Line {
  kind: "+" | "-" | " " | "@";
  old: number | null;
  now: number | null;
  text: string;
}

export interface FileDiff {
  path: string;
  note: string;
  lines: Line[];
  plus: number;
  minus: number;
}

export function parse(diff: string): FileDiff[] {
  const files: FileDiff[] = [];
  let file: FileDiff | null = null;
  let old = 0;
  let now = 0;
  let inHunk = false;
  for (const text of diff.split("\n")) {
    if (text.startsWith("diff --git ") || (!inHunk && text.startsWith("--- ") && !file?.path)) {
      const path = /^diff --git a\/(.*) b\/(.*)$/.exec(text)?.[2] ?? "";
      file = { path, note: "", lines: [], plus: 0, minus: 0 };
      files.push(file);
      inHunk = false;
      if (path || text.startsWith("diff")) continue;
    }
    if (!file) continue;
    const hunk = /^@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@(.*)$/.exec(text);
    if (hunk) {
      old = Number(hunk[1]);
      now = Number(hunk[2]);
      inHunk = true;
      file.lines.push({ kind: "@", old: null, now: null, text: `lines ${now} …${hunk[3] ?? ""}` });
    } else if (!inHunk) {
      if (text.startsWith("+++ ")) file.path = text.slice(4).replace(/^b\//, "") === "/dev/null" ? file.path : text.slice(4).replace(/^b\//, "");
      else if (/^(new file|deleted file|rename|Binary)/.test(text)) file.note = text;
      else if (text.startsWith("# ")) file.note = text.slice(2);
    } else if (text.startsWith("+")) {
      file.plus++;
      file.lines.push({ kind: "+", old: null, now: now++, text: text.slice(1) });
    } else if (text.startsWith("-")) {
      file.minus++;
      file.lines.push({ kind: "-", old: old++, now: null, text: text.slice(1) });
    } else if (text.startsWith(" ")) {
      file.lines.push({ kind: " ", old: old++, now: now++, text: text.slice(1) });
    }
  }
  return files;
}

export function Diff({ diff, replaying }: { diff: string | null; replaying: boolean }) {
  const files = useMemo(() => parse(diff ?? ""), [diff]);
  if (!files.length && replaying) return <Empty title="No file had changed yet."><p class="dim">At this moment the copy was as the source.</p></Empty>;
  if (!files.length) return <Empty title="No file has changed."><p class="dim">Changes are made in a copy; they appear here before anything is applied.</p></Empty>;
  const plus = files.reduce((n, f) => n + f.plus, 0);
  const minus = files.reduce((n, f) => n + f.minus, 0);
  return (
    <div class="diff">
      <p class="row small">
        <b>{files.length} {files.length === 1 ? "file" : "files"}</b> <span class="good">+{plus}</span> <span class="bad">−{minus}</span>
        {replaying && <span class="dim">at this moment</span>}
        <span class="grow" />
        <CopyButton text={diff ?? ""} label="Copy diff" />
      </p>
      {files.map((f) => (
        <FileView key={f.path} file={f} />
      ))}
    </div>
  );
}

function FileView({ file }: { file: FileDiff }) {
  const [open, setOpen] = useState(file.lines.length < 800);
  return (
    <section class="dfile">
      <h2>
        <button class="plain" aria-expanded={open} onClick={() => setOpen(!open)}>
          <span aria-hidden="true">{open ? "▾" : "▸"}</span> <span class="mono">{file.path}</span>
        </button>
        <span class="good">+{file.plus}</span> <span class="bad">−{file.minus}</span> <span class="dim">{file.note}</span>
      </h2>
      {open && (
        <div class="dlines" tabIndex={0} role="region" aria-label={`Changes in ${file.path}`}>
          <table>
            <tbody>
              {file.lines.map((l, i) => (
                <tr key={i} class={l.kind === "+" ? "d-plus" : l.kind === "-" ? "d-minus" : l.kind === "@" ? "d-hunk" : ""}>
                  <td class="ln">{l.old ?? ""}</td>
                  <td class="ln">{l.now ?? ""}</td>
                  <td class="sign">{l.kind === "@" ? "" : l.kind}</td>
                  <td class="code"><Rich text={l.text} /></td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}
