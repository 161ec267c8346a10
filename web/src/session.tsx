// One session: its timeline, the thing worked on, and the people, side by side; live or replayed.
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { api } from "./api";
import { Diff } from "./diff";
import { Findings } from "./findings";
import { Incident } from "./incident";
import { useKeysOf } from "./keys";
import { LedgerView } from "./ledger";
import { PeoplePane } from "./people";
import { Plan } from "./plan";
import { Reveal, RevealDialog } from "./rich";
import { Room, type Row } from "./room";
import { State } from "./sessions";
import { Terminal } from "./terminal";
import { shown, Timeline, type Filter } from "./timeline";
import type { Me } from "./types";
import { clock, Notice, plural, Tabs, trouble, useWidth, type Trouble } from "./ui";

type Tab = "terminal" | "diff" | "plan" | "findings" | "incident" | "ledger";
const TABS: Tab[] = ["terminal", "diff", "plan", "findings", "incident", "ledger"];
const LINK: Record<string, string> = { connecting: "connecting", live: "live", reconnecting: "reconnecting, nothing is lost", offline: "offline; what is here stays readable", ended: "ended", refused: "not connected" };
const SHOW: [Filter["show"], string][] = [["acts", "What happened"], ["asks", "Asked, denied"], ["failed", "Failed"], ["people", "People"], ["all", "Every record"]];

export function SessionPage({ id, me, view }: { id: string; me: Me; view: string }) {
  const [room, setRoom] = useState<Room | null>(null);
  const [, redraw] = useState(0);
  useEffect(() => {
    const r = new Room(id, me.person?.id ?? "");
    const stop = r.watch(() => redraw((n) => n + 1));
    setRoom(r);
    (window as unknown as { veilig?: Room }).veilig = r; // for the page's own tests, and for whoever debugs it
    return () => {
      stop();
      r.close();
    };
  }, [id]);
  if (!room) return null;
  return <Shown room={room} me={me} view={view} />;
}

function Shown({ room, me, view }: { room: Room; me: Me; view: string }) {
  const [filter, setFilter] = useState<Filter>({ text: "", show: "acts" });
  const [replay, setReplay] = useState<number | null>(null);
  const [chosen, setChosen] = useState("");
  const [open, setOpen] = useState("");
  const first: Tab = /^(fix|audit)/.test(room.id) ? "findings" : /^heal/.test(room.id) ? "incident" : "terminal";
  const [tab, setTab] = useState<Tab>((TABS as string[]).includes(view) ? (view as Tab) : first);
  const [pane, setPane] = useState<"timeline" | "work" | "people">("timeline");
  const [anchor, setAnchor] = useState<number | null>(null);
  const [reveal, setReveal] = useState("");
  const [error, setError] = useState<Trouble | null>(null);
  const search = useRef<HTMLInputElement>(null);
  useEffect(() => room.want(tab), [tab]);
  const width = useWidth();
  useEffect(() => room.seek(replay), [room, replay]);
  const rows = useMemo(() => shown(room.rows, filter, replay), [room.version, filter, replay]);
  const upTo = useMemo(() => (replay === null ? room.rows : room.rows.filter((r) => r.seq <= replay)), [room.version, replay]);

  const pick = (row: Row, toggle: boolean): void => {
    setChosen(row.key);
    if (toggle) setOpen(open === row.key ? "" : row.key);
    room.connection.at(row.seq);
  };
  const go = (seq: number): void => {
    const row = room.rowOf(seq);
    if (!row) return;
    setFilter({ text: "", show: row.quiet ? "all" : "acts" });
    if (replay !== null && row.seq > replay) setReplay(null);
    setPane("timeline");
    setChosen(row.key);
    setOpen(row.key);
  };
  const linked = useRef("");
  useEffect(() => {
    if (!room.loaded || !/^\d+$/.test(view) || linked.current === view) return;
    linked.current = view;
    go(Number(view));
  }, [room.loaded, view]);
  const talk = (mode: "comment" | "say"): void => {
    setPane("people");
    setTimeout(() => dispatchEvent(new CustomEvent("veilig:talk", { detail: mode })), 0);
  };
  const comment = (seq: number): void => {
    setAnchor(seq);
    talk("comment");
  };
  const step = (by: number): void => {
    const list = room.rows.filter((r) => !r.quiet);
    const now = replay === null ? list.length - 1 : list.findIndex((r) => r.seq >= replay);
    const to = list[Math.max(0, now + by)];
    setReplay(!to || now + by >= list.length - 1 ? null : to.seq);
  };
  const at = rows.findIndex((r) => r.key === chosen);
  useLayoutEffect(
    () =>
      useKeysOf({
        j: () => rows[at < 0 ? rows.length - 1 : at + 1] && pick(rows[at < 0 ? rows.length - 1 : at + 1]!, false),
        k: () => rows[at < 0 ? rows.length - 1 : at - 1] && pick(rows[at < 0 ? rows.length - 1 : at - 1]!, false),
        Enter: () => rows[at] && pick(rows[at]!, true),
        "/": () => { setPane("timeline"); setTimeout(() => search.current?.focus(), 0); },
        c: () => rows[at] && comment(rows[at]!.seq),
        s: () => talk("say"),
        l: () => setReplay(null),
        "[": () => step(-1),
        "]": () => step(1),
        a: () => rows[at]?.approval && (location.hash = `#/approvals/${rows[at]!.approval}`),
        Escape: () => setOpen(""),
        ...Object.fromEntries(TABS.map((t, i) => [String(i + 1), () => { setTab(t); setPane("work"); }])),
      }),
    [rows, at, open, replay, room.version],
  );

  if (room.link === "refused" && !room.detail) return <div class="column"><Notice of={room.refusal}><a href="#/">All sessions</a></Notice></div>;
  const narrow = width < 1100;
  const phone = width < 760;
  const show = { timeline: !phone || pane === "timeline", work: phone ? pane === "work" : !narrow || pane !== "people", people: phone ? pane === "people" : !narrow || pane === "people" };
  const sum = room.detail?.summary;
  const asks = upTo.filter((r) => r.mark === "waits").length;
  const tabs = TABS.map((t) => ({ id: t, label: t[0]!.toUpperCase() + t.slice(1), badge: t === "findings" ? (room.findings?.length ?? 0) : undefined }));
  return (
    <Reveal.Provider value={room.role === "owner" ? setReveal : null}>
      <div class="session">
        <div class="shead">
          <h1>
            <span class="mono">{room.id}</span> <span class="stask">{sum?.task || sum?.kind || ""}</span>
          </h1>
          <State of={sum?.state ?? ""} />
          <span class={`link l-${room.link}`} role="status" data-testid="link">{LINK[room.link]}</span>
          {sum?.repository && <span class="dim mono clip repo">{sum.repository}</span>}
          <span class="grow" />
          <span class="dim small">you: {room.role}</span>
          <ExportMenu id={room.id} />
          {(room.role === "owner" || room.role === "driver") && /^(stopped|held)$/.test(sum?.state ?? "") && (
            <button onClick={() => api.resume(room.id).then(() => room.refresh(), (e) => setError(trouble(e)))}>Go on</button>
          )}
          {(room.role === "owner" || room.role === "driver") && /run|wait|live|start/.test(sum?.state ?? "") && (
            <button class="deny" onClick={() => confirm("Stop this session? It can be resumed later.") && api.stop(room.id).then(() => room.refresh(), (e) => setError(trouble(e)))}>Stop</button>
          )}
        </div>
        <Notice of={error} />
        {room.refusal && room.link !== "live" && <Notice kind="warn" of={room.refusal} />}
        {narrow && (
          <div class="panes" role="group" aria-label="Panes">
            {(phone ? (["timeline", "work", "people"] as const) : (["work", "people"] as const)).map((p) => (
              <button key={p} aria-pressed={pane === p || (!phone && pane === "timeline" && p === "work")} onClick={() => setPane(p)}>
                {p === "timeline" ? "Timeline" : p === "work" ? "Work" : `People ${room.people.filter((x) => x.here !== false).length}`}
              </button>
            ))}
          </div>
        )}
        <div class={`three${narrow ? " two" : ""}${phone ? " one" : ""}`}>
          {show.timeline && (
            <section class="pane p-timeline" aria-label="Timeline">
              <div class="filter">
                <input ref={search} type="search" placeholder="Search  /" aria-label="Search in the timeline" value={filter.text} onInput={(e) => setFilter({ ...filter, text: e.currentTarget.value })} />
                <select aria-label="Show" value={filter.show} onChange={(e) => setFilter({ ...filter, show: e.currentTarget.value as Filter["show"] })}>
                  {SHOW.map(([v, l]) => <option key={v} value={v}>{l}</option>)}
                </select>
                <span class="dim small num" data-testid="row-count">{filter.text ? `${rows.length} of ${room.rows.length}` : plural(rows.length, "row")}</span>
              </div>
              <Timeline room={room} rows={rows} chosen={chosen} open={open} live={replay === null} filtered={!!filter.text || filter.show !== "acts"} pick={pick} comment={comment} />
            </section>
          )}
          {show.work && (
            <section class="pane p-work" aria-label="Work">
              <Tabs name="The thing worked on" tabs={tabs} now={tab} pick={setTab} />
              <div class="work" role="tabpanel" id={`panel-${tab}`} aria-labelledby={`tab-${tab}`} tabIndex={0}>
                {room.sideTrouble && <p class="notice n-warn small">Not everything could be fetched: {room.sideTrouble}</p>}
                {tab === "terminal" && <Terminal rows={upTo} />}
                {tab === "diff" && <Diff diff={room.diff} replaying={replay !== null} />}
                {tab === "plan" && <Plan room={room} rows={upTo} />}
                {tab === "findings" && <Findings findings={room.findings} />}
                {tab === "incident" && <Incident rows={upTo} go={go} />}
                {tab === "ledger" && <LedgerView room={room} go={go} />}
              </div>
            </section>
          )}
          {show.people && (
            <section class="pane p-people" aria-label="People and messages">
              <PeoplePane room={room} me={me} anchor={anchor} setAnchor={setAnchor} go={go} />
            </section>
          )}
        </div>
        <Replay room={room} replay={replay} setReplay={setReplay} />
        <Announce room={room} asks={asks} />
      </div>
      {reveal && <RevealDialog room={room} handle={reveal} close={() => setReveal("")} />}
    </Reveal.Provider>
  );
}

function ExportMenu({ id }: { id: string }) {
  const ref = useRef<HTMLDetailsElement>(null);
  return (
    <details class="menu" ref={ref} onBlur={(e) => !ref.current?.contains(e.relatedTarget as Node) && ref.current?.removeAttribute("open")}>
      <summary>Export</summary>
      <ul>
        <li><a href={api.exportUrl(id, "html")} download>HTML, to read anywhere</a></li>
        <li><a href={api.exportUrl(id, "json")} download>JSON, every event</a></li>
        <li><a href={api.exportUrl(id, "asciinema")} download>asciinema, to replay in a terminal</a></li>
        <li class="dim small">as your role may see it</li>
      </ul>
    </details>
  );
}

function Replay({ room, replay, setReplay }: { room: Room; replay: number | null; setReplay: (seq: number | null) => void }) {
  const list = room.rows.filter((r) => !r.quiet);
  const [playing, setPlaying] = useState(false);
  const at = replay === null ? list.length - 1 : list.findIndex((r) => r.seq >= replay);
  const row = list[at];
  const set = (n: number): void => setReplay(n >= list.length - 1 ? null : (list[Math.max(0, n)]?.seq ?? null));
  useEffect(() => {
    if (!playing) return;
    const next = list[at + 1];
    if (replay === null || !next || !row) return setPlaying(false);
    const timer = setTimeout(() => set(at + 1), Math.min(1500, Math.max(120, (next.at - row.at) / 4)));
    return () => clearTimeout(timer);
  }, [playing, replay, at]);
  if (list.length < 2) return null;
  return (
    <div class={`replay${replay === null ? "" : " on"}`} role="group" aria-label="Replay">
      <button aria-label={playing ? "Pause" : "Play"} onClick={() => { if (!playing && replay === null) set(0); setPlaying(!playing); }}>{playing ? "❚❚" : "▶"}</button>
      <input type="range" min={0} max={list.length - 1} value={at} aria-label="Moment" aria-valuetext={row ? `${clock(row.at)}, row ${at + 1} of ${list.length}: ${row.title}` : ""} onInput={(e) => { setPlaying(false); set(Number(e.currentTarget.value)); }} />
      <span class="num small rtime" data-testid="moment">{row ? `${clock(row.at)}  #${row.seq}` : ""}</span>
      <button class={replay === null ? "live" : ""} disabled={replay === null} onClick={() => { setPlaying(false); setReplay(null); }}>{replay === null ? "now" : "Back to now"}</button>
    </div>
  );
}

// Screen readers hear what is new, at most every few seconds and politely.
function Announce({ room, asks }: { room: Room; asks: number }) {
  const [words, setWords] = useState("");
  const told = useRef(-1);
  const state = useRef({ rows: 0, asks: 0 });
  state.current = { rows: room.rows.length, asks };
  useEffect(() => {
    const timer = setInterval(() => {
      const now = state.current;
      if (told.current < 0) told.current = now.rows;
      if (now.rows === told.current) return;
      const fresh = room.rows.slice(told.current).filter((r) => !r.quiet);
      told.current = now.rows;
      if (fresh.length) setWords(`${plural(fresh.length, "new row")}: ${fresh[fresh.length - 1]!.title}${now.asks ? `; ${now.asks} waiting for people` : ""}`);
    }, 3000);
    return () => clearInterval(timer);
  }, [room]);
  return <div class="sr" aria-live="polite">{words}</div>;
}
