// What did the commands print? Text with control characters becomes rows, by a small line model.
import { useMemo, useState } from "preact/hooks";
import { Rich } from "./rich";
import { printed, type Row } from "./room";
import { clock, Empty, Glyph, span } from "./ui";

interface Piece {
  text: string;
  style: string;
}

// CR, BS, TAB and the CSI sequences for colour and erasing; everything else that is not text is left out.
const TOKEN = /\x1b\[([0-9;?]*)([A-Za-z])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-_]|[\r\n\b\t]|[^\x1b\r\n\b\t\x00-\x1f\x7f]+|[\s\S]/g;
const COLOUR: Record<number, string> = { 31: "t-red", 32: "t-green", 33: "t-yellow", 34: "t-blue", 35: "t-purple", 36: "t-cyan", 90: "t-dim", 91: "t-red", 92: "t-green", 93: "t-yellow", 94: "t-blue", 95: "t-purple", 96: "t-cyan" };

export function rows(text: string): Piece[][] {
  const lines: { ch: string; style: string }[][] = [[]];
  let x = 0;
  let bold = "";
  let colour = "";
  const line = (): { ch: string; style: string }[] => lines[lines.length - 1]!;
  for (const m of text.matchAll(TOKEN)) {
    const [all, args, final] = m;
    if (all === "\n") {
      lines.push([]);
      x = 0;
    } else if (all === "\r") x = 0;
    else if (all === "\b") x = Math.max(0, x - 1);
    else if (all === "\t") x += 8 - (x % 8);
    else if (final === "m") {
      for (const code of (args || "0").split(";").map(Number)) {
        if (code === 0) bold = colour = "";
        else if (code === 1) bold = "t-bold";
        else if (code === 2) bold = "t-dim";
        else if (code === 22) bold = "";
        else if (code === 39) colour = "";
        else if (COLOUR[code]) colour = COLOUR[code];
      }
    } else if (final === "K") {
      if (!args || args === "0") line().length = Math.min(line().length, x);
      else if (args === "2") line().length = 0;
    } else if (final === "G") x = Math.max(0, Number(args || 1) - 1);
    else if (final === "C") x += Number(args || 1);
    else if (final === "D") x = Math.max(0, x - Number(args || 1));
    else if (!final && !all.startsWith("\x1b") && all >= " ") {
      const l = line();
      for (const ch of all) {
        while (l.length < x) l.push({ ch: " ", style: "" });
        l[x++] = { ch, style: `${bold} ${colour}`.trim() };
      }
    }
  }
  return lines.map((l) => {
    const out: Piece[] = [];
    for (const c of l) {
      const end = out[out.length - 1];
      if (end && end.style === (c?.style ?? "")) end.text += c?.ch ?? " ";
      else out.push({ text: c?.ch ?? " ", style: c?.style ?? "" });
    }
    return out;
  });
}

export function Screen({ text }: { text: string }) {
  const drawn = useMemo(() => rows(text.replace(/\n$/, "")), [text]);
  return (
    <pre class="screen" tabIndex={0}>
      {drawn.map((line, i) => (
        <span class="tline" key={i}>
          {line.map((p, j) => (p.style ? <span key={j} class={p.style}><Rich text={p.text} /></span> : <Rich key={j} text={p.text} />))}
          {"\n"}
        </span>
      ))}
    </pre>
  );
}

const BLOCKS = 60;

function command(row: Row): string {
  const args = row.events.find((e) => e.action)?.action?.args;
  const words = args?.["argv"] ?? args?.["command"];
  if (Array.isArray(words) && words.length) return words.map((w) => (/^[\w./:=@%+,-]+$/.test(String(w)) ? String(w) : JSON.stringify(w))).join(" ");
  return typeof words === "string" && words ? words : row.title;
}

const PRINTS = /^(command|tests|process|terminal|shell)\./;

export function Terminal({ rows: all }: { rows: Row[] }) {
  const [more, setMore] = useState(1);
  const blocks = all.filter((r) => r.act && (PRINTS.test(r.kind) || r.events.some((e) => e.kind === "action.output")) && r.kind !== "workspace.diff");
  const from = Math.max(0, blocks.length - BLOCKS * more);
  if (!blocks.length) return <Empty title="No command has run yet."><p class="dim">Commands and tests print here, each with its decision.</p></Empty>;
  return (
    <div class="term" data-testid="terminal">
      {from > 0 && <button onClick={() => setMore(more + 1)}>Show {Math.min(BLOCKS, from)} earlier</button>}
      {blocks.slice(from).map((r) => {
        const { text } = printed(r);
        return (
          <section key={r.key} class="block">
            <header>
              <span class="dollar">$</span> <code><Rich text={command(r)} /></code>
              <span class="grow" />
              <span class="dim">{clock(r.at)}{r.mark !== "runs" ? ` · ${span(r.end - r.at)}` : ""}</span> <Glyph mark={r.mark} label={r.said} />
            </header>
            {text ? <Screen text={text} /> : null}
            {(r.mark === "runs" || r.outcome) && <p class={`o-${r.mark} small`}>{r.mark === "runs" ? "running …" : r.outcome?.split("\n")[0]}</p>}
          </section>
        );
      })}
    </div>
  );
}
