// What happened, in order? A list that draws only the rows in view, so that ten thousand stay fluid.
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Detail } from "./detail";
import type { Room, Row } from "./room";
import { clock, Empty, Glyph, Loading, plural, span } from "./ui";

const ROW_PX = 46;
const OVERSCAN = 8;

export interface Filter {
  text: string;
  show: "acts" | "asks" | "people" | "failed" | "all";
}

export function shown(rows: Row[], filter: Filter, replay: number | null): Row[] {
  const words = filter.text.toLowerCase().split(/\s+/).filter(Boolean);
  return rows.filter((r) => {
    if (replay !== null && r.seq > replay) return false;
    if (words.length && !words.every((w) => r.search.includes(w))) return false;
    switch (filter.show) {
      case "asks":
        return r.mark === "waits" || r.mark === "refused" || r.verdict === "ask" || r.verdict === "deny" || !!r.approval;
      case "people":
        return r.mark === "person";
      case "failed":
        return r.mark === "failed" || r.mark === "refused" || r.mark === "doubt";
      case "acts":
        return !r.quiet;
      default:
        return true;
    }
  });
}

interface Props {
  room: Room;
  rows: Row[];
  chosen: string;
  open: string;
  live: boolean;
  filtered: boolean;
  pick: (row: Row, toggle: boolean) => void;
  comment: (seq: number) => void;
}

export function Timeline({ room, rows, chosen, open, live, filtered, pick, comment }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(600);
  const [extra, setExtra] = useState(0);
  const [follow, setFollow] = useState(true);
  const [seen, setSeen] = useState(rows.length);
  const openAt = open ? rows.findIndex((r) => r.key === open) : -1;
  const gap = openAt >= 0 ? extra : 0;
  const y = (i: number): number => i * ROW_PX + (openAt >= 0 && i > openAt ? gap : 0);
  const total = rows.length * ROW_PX + gap;

  useLayoutEffect(() => {
    const el = box.current;
    if (!el) return;
    const seen = new ResizeObserver(() => setHeight(el.clientHeight));
    seen.observe(el);
    setHeight(el.clientHeight);
    return () => seen.disconnect();
  }, []);

  useLayoutEffect(() => {
    const el = box.current;
    if (el && live && follow && openAt < 0 && !filtered) el.scrollTop = el.scrollHeight;
    if (follow) setSeen(rows.length);
  }, [rows.length, live, follow, openAt, height]);

  useLayoutEffect(() => {
    const el = box.current;
    const at = rows.findIndex((r) => r.key === chosen);
    if (!el || at < 0) return;
    if (y(at) < el.scrollTop) el.scrollTop = y(at);
    else if (y(at) + ROW_PX > el.scrollTop + el.clientHeight) el.scrollTop = y(at) + ROW_PX - el.clientHeight;
  }, [chosen]);

  // What was opened is shown whole, as far as it fits.
  useLayoutEffect(() => {
    const el = box.current;
    if (!el || openAt < 0 || !extra) return;
    const bottom = y(openAt) + ROW_PX + extra;
    if (bottom > el.scrollTop + el.clientHeight) el.scrollTop = Math.min(y(openAt), bottom - el.clientHeight);
  }, [open, extra > 0]);

  const onScroll = (): void => {
    const el = box.current;
    if (!el) return;
    setTop(el.scrollTop);
    setFollow(el.scrollHeight - el.scrollTop - el.clientHeight < ROW_PX);
  };

  let first = Math.floor(top / ROW_PX);
  if (openAt >= 0 && first > openAt) first = Math.max(openAt, Math.floor((top - gap) / ROW_PX));
  first = Math.max(0, first - OVERSCAN);
  const lastShown = Math.min(rows.length, first + Math.ceil(height / ROW_PX) + 2 * OVERSCAN);
  const slice = rows.slice(first, lastShown);
  const below = y(lastShown) < total ? total - y(lastShown) : 0;
  const fresh = live && !follow ? rows.length - seen : 0;

  return (
    <div class="tl-wrap">
      <div class="tl" ref={box} onScroll={onScroll} tabIndex={0} role="region" aria-label="Rows of the timeline" data-testid="timeline">
        {!rows.length && (room.loaded ? <Empty title={filtered ? "Nothing fits." : "Nothing has happened yet."}><p class="dim">{filtered ? "Clear the search, or show all records." : "Events appear here as they are recorded."}</p></Empty> : <Loading what="the timeline" />)}
        <ul style={{ paddingTop: `${y(first)}px`, paddingBottom: `${below}px` }}>
          {slice.map((r, i) => (
            <Item key={r.key} row={r} at={first + i} of={rows.length} chosen={r.key === chosen} open={r.key === open} pick={pick} people={room.people.filter((p) => p.at !== undefined && p.at >= r.seq && p.at <= r.lastSeq && p.here !== false).map((p) => p.name)}>
              {r.key === open && <Measured onHeight={setExtra}><Detail room={room} row={r} comment={comment} /></Measured>}
            </Item>
          ))}
        </ul>
      </div>
      {fresh > 0 && (
        <button class="tl-fresh" onClick={() => { setFollow(true); if (box.current) box.current.scrollTop = box.current.scrollHeight; }}>
          {plural(fresh, "new row")} ↓
        </button>
      )}
    </div>
  );
}

function Measured({ onHeight, children }: { onHeight: (px: number) => void; children: preact.ComponentChildren }) {
  const ref = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const el = ref.current;
    if (!el) return;
    const seen = new ResizeObserver(() => onHeight(el.offsetHeight));
    seen.observe(el);
    return () => {
      seen.disconnect();
      onHeight(0);
    };
  }, []);
  return <div ref={ref}>{children}</div>;
}

const VERDICT: Record<string, string> = { allow: "allowed", ask: "asks", deny: "denied" };

function Item({ row, at, of, chosen, open, pick, people, children }: { row: Row; at: number; of: number; chosen: boolean; open: boolean; pick: Props["pick"]; people: string[]; children?: preact.ComponentChildren }) {
  const took = row.end - row.at;
  return (
    <li aria-setsize={of} aria-posinset={at + 1} class={`tl-item m-${row.mark}${chosen ? " chosen" : ""}${open ? " open" : ""}`} data-seq={row.seq}>
      <button class="tl-row" aria-expanded={open} onClick={() => pick(row, true)}>
        <Glyph mark={row.mark} label={row.said || row.kind} />
        <span class="tl-title">{row.title}</span>
        <span class="tl-time">{clock(row.at)}</span>
        <span class="tl-sub">
          <span class="tl-seq">#{row.seq}</span>
          {row.verdict ? <span class={`v-${row.verdict}`}>{VERDICT[row.verdict]}</span> : <span>{row.who?.name ?? row.kind}</span>}
          {row.rule && <span class="tl-rule">{row.rule}</span>}
          {row.outcome && row.outcome !== row.title && <span class="tl-out">{row.outcome.startsWith("diff ") ? "the changes" : row.outcome.split("\n")[0]}</span>}
        </span>
        <span class="tl-took">
          {people.length > 0 && <span class="tl-here" title={`looking at this: ${people.join(", ")}`}>{people.map((n) => n.slice(0, 1).toUpperCase()).join(" ")}</span>}
          {row.act && took > 0 && row.mark !== "runs" ? span(took) : row.act ? row.said : ""}
        </span>
      </button>
      {children}
    </li>
  );
}
