// Who is here, who holds control, what was said, and what waits for whom?
import { useEffect, useRef, useState } from "preact/hooks";
import { api } from "./api";
import { Rich } from "./rich";
import type { Room } from "./room";
import type { Approval, Invite, Me, Role } from "./types";
import { clock, CopyButton, Dialog, day, Notice, trouble, useLoad, type Trouble } from "./ui";

const ROLES: Role[] = ["owner", "driver", "approver", "commenter", "viewer"];
const SPOKEN = /^(comment\.added|session\.told)$/;

interface Props {
  room: Room;
  me: Me;
  anchor: number | null;
  setAnchor: (seq: number | null) => void;
  go: (seq: number) => void;
}

export function PeoplePane({ room, me, anchor, setAnchor, go }: Props) {
  const [error, setError] = useState<Trouble | null>(null);
  const [inviting, setInviting] = useState(false);
  const mine = me.person?.id ?? "";
  const act = async (f: () => Promise<unknown>): Promise<void> => {
    setError(null);
    try {
      await f();
    } catch (e) {
      setError(trouble(e));
    }
  };
  return (
    <div class="people">
      <Notice of={error} />
      <section aria-label="People">
        <h2>
          People <span class="dim">{room.people.filter((p) => p.here !== false).length} here</span>
          <span class="grow" />
          {room.role === "owner" && <button onClick={() => setInviting(true)}>Invite</button>}
        </h2>
        <ul class="plist">
          {room.people.map((p) => (
            <li key={p.id} class={p.here === false ? "away" : ""}>
              <span class="dot" role="img" aria-label={p.here === false ? "away" : "here"} />
              <span class="pname">
                {p.name}
                {p.id === mine && <span class="dim"> (you)</span>}{" "}
                {room.control.holder === p.id && <span class="holds">in control</span>}
              </span>
              {room.role === "owner" && p.id !== mine ? (
                <select aria-label={`Role of ${p.name}`} value={p.role} onChange={(e) => act(() => api.role(room.id, p.id, e.currentTarget.value))}>
                  {ROLES.map((r) => (
                    <option key={r}>{r}</option>
                  ))}
                </select>
              ) : (
                <span class="prole">{p.role}</span>
              )}
              {room.control.holder === mine && p.id !== mine && p.here && (p.role === "driver" || p.role === "owner") && !room.control.asks.includes(p.id) && room.control.offer !== p.id && (
                <button class="plain small" onClick={() => act(async () => { const now = await api.control(room.id, "offer", p.id); if (now) room.setControl(now); })}>offer control</button>
              )}
              {p.at !== undefined && p.id !== mine && p.here !== false && (
                <button class="plain small" onClick={() => go(p.at!)}>at #{p.at}</button>
              )}
            </li>
          ))}
        </ul>
        <Control room={room} mine={mine} act={act} />
      </section>
      <Waiting room={room} />
      <Talk room={room} anchor={anchor} setAnchor={setAnchor} go={go} act={act} />
      {inviting && <Invites room={room} close={() => setInviting(false)} />}
    </div>
  );
}

function Control({ room, mine, act }: { room: Room; mine: string; act: (f: () => Promise<unknown>) => Promise<void> }) {
  const c = room.control;
  const name = room.name;
  const may = room.role === "owner" || room.role === "driver";
  const send = (verb: string, to?: string): Promise<void> =>
    act(async () => {
      const now = await api.control(room.id, verb, to);
      if (now) room.setControl(now);
    });
  const offered = c.offer === mine;
  return (
    <div class="control" data-testid="control">
      <p>
        {c.holder ? <><b>{c.holder === mine ? "You hold" : `${name(c.holder)} holds`}</b> control</> : <span class="dim">Nobody holds control</span>}
        {c.asks.length > 0 && <>; {c.asks.map(name).join(", ")} {c.asks.length === 1 ? "asks" : "ask"} for it</>}
        {c.offer && !offered && <>; offered to {name(c.offer)}</>}
      </p>
      <div class="row">
        {c.holder === mine && c.asks.map((id) => (
          <span key={id} class="row">
            <button class="primary" onClick={() => send("accept", id)}>Hand over to {name(id)}</button>
            <button onClick={() => send("decline", id)}>Decline</button>
          </span>
        ))}
        {offered && (
          <>
            <button class="primary" onClick={() => send("accept")}>Accept control</button>
            <button onClick={() => send("decline")}>Decline</button>
          </>
        )}
        {c.holder === mine && <button onClick={() => send("release")}>Release</button>}
        {may && c.holder !== mine && !offered && !c.asks.includes(mine) && <button onClick={() => send("ask")}>Ask for control</button>}
        {c.asks.includes(mine) && <span class="dim">asked; {c.holder ? name(c.holder) : "nobody"} decides</span>}
        {room.role === "owner" && c.holder !== mine && <button onClick={() => send("take")} title="as owner, without consent; recorded">Take</button>}
      </div>
    </div>
  );
}

function Waiting({ room }: { room: Room }) {
  const found = useLoad<Approval[]>(() => api.approvals(), [room.sideVersion], 5000);
  const open = (found.data ?? []).filter((a) => a.session === room.id && a.state === "open");
  if (!open.length) return null;
  return (
    <section aria-label="Waiting" class="waiting">
      <h2>Waits for people</h2>
      <ul>
        {open.map((a) => (
          <li key={a.id}>
            <a href={`#/approvals/${a.id}`}>{a.title}</a>
            <span class="small dim">
              {a.needs.map((n) => `${n.have ?? a.votes.filter((v) => v.verdict === "approve").length} of ${n.quorum}${n.roles.length ? ` (${n.roles.join(" or ")})` : ""}`).join("; ")}
            </span>
          </li>
        ))}
      </ul>
    </section>
  );
}

function Talk({ room, anchor, setAnchor, go, act }: Omit<Props, "me"> & { act: (f: () => Promise<unknown>) => Promise<void> }) {
  const may = room.role !== "viewer";
  const maySteer = room.role === "owner" || room.role === "driver";
  const [mode, setMode] = useState<"comment" | "say">("comment");
  const [words, setWords] = useState("");
  const [busy, setBusy] = useState(false);
  const said = room.events.filter((e) => SPOKEN.test(e.kind));
  const field = useRef<HTMLTextAreaElement>(null);
  const end = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const list = end.current?.parentElement;
    if (list) list.scrollTop = list.scrollHeight;
  }, [said.length]);
  useEffect(() => {
    const speak = (e: Event): void => {
      setMode((e as CustomEvent<"comment" | "say">).detail);
      setTimeout(() => field.current?.focus(), 0);
    };
    addEventListener("veilig:talk", speak);
    return () => removeEventListener("veilig:talk", speak);
  }, []);
  const steer = mode === "say" && maySteer;
  return (
    <section class="talk" aria-label="Comments and messages">
      <h2>Said</h2>
      <div class="said-list" data-testid="said" tabIndex={0} role="log" aria-label="Comments and messages">
        {!said.length && <p class="dim small">Nothing yet. Comments are for people; messages to the session steer the planner and never count as approval.</p>}
        {said.map((e) => (
          <p key={e.seq} class={`said ${e.kind === "session.told" ? "steered" : ""}`}>
            <b>{e.who?.name ?? "somebody"}</b> <span class="dim small">{clock(e.at)}{e.kind === "session.told" ? " to the session" : ""}</span>
            {e.anchor ? <button class="plain small" onClick={() => go(e.anchor!)}>on #{e.anchor}</button> : null}
            <br />
            <Rich text={e.text ?? e.title} />
          </p>
        ))}
        <div ref={end} />
      </div>
      {may ? (
        <form
          onSubmit={async (e) => {
            e.preventDefault();
            if (!words.trim()) return;
            setBusy(true);
            await act(async () => {
              await (steer ? api.say(room.id, words, anchor ?? undefined) : api.comment(room.id, words, anchor ?? undefined));
              setWords("");
              setAnchor(null);
            });
            setBusy(false);
          }}
        >
          <div class="row small">
            {maySteer && (
              <div class="seg" role="group" aria-label="To whom">
                <button type="button" aria-pressed={!steer} onClick={() => setMode("comment")}>To people</button>
                <button type="button" aria-pressed={steer} onClick={() => setMode("say")}>To the session</button>
              </div>
            )}
            {anchor && (
              <span class="chip">
                on #{anchor} <button type="button" class="plain" aria-label="Not on an event" onClick={() => setAnchor(null)}>✕</button>
              </span>
            )}
          </div>
          <textarea
            ref={field}
            rows={2}
            aria-label={steer ? "Message to the session" : "Comment"}
            placeholder={steer ? "What should it do differently?" : "Comment, for the people here"}
            value={words}
            onInput={(e) => setWords(e.currentTarget.value)}
            onKeyDown={(e) => {
              if (e.key === "Enter" && !e.shiftKey) {
                e.preventDefault();
                e.currentTarget.form?.requestSubmit();
              }
            }}
          />
          <button disabled={busy || !words.trim()}>{steer ? "Tell the session" : "Comment"}</button>
        </form>
      ) : (
        <p class="dim small">You watch. The owner can give you a role that may comment.</p>
      )}
    </section>
  );
}

const LIFETIMES = [
  { s: 3600, said: "1 hour" },
  { s: 8 * 3600, said: "8 hours" },
  { s: 24 * 3600, said: "1 day" },
  { s: 7 * 24 * 3600, said: "7 days" },
];

function Invites({ room, close }: { room: Room; close: () => void }) {
  const [role, setRole] = useState<Role>("viewer");
  const [life, setLife] = useState(3600);
  const [made, setMade] = useState<Invite | null>(null);
  const [error, setError] = useState<Trouble | null>(null);
  const known = useLoad(() => api.invites(room.id), [room.id]);
  return (
    <Dialog title="Invite" onClose={close}>
      <form
        class="row"
        onSubmit={async (e) => {
          e.preventDefault();
          setError(null);
          try {
            setMade(await api.invite(room.id, role, life));
            known.again();
          } catch (e) {
            setError(trouble(e));
          }
        }}
      >
        <label>
          Role
          <select value={role} onChange={(e) => setRole(e.currentTarget.value as Role)}>
            {ROLES.filter((r) => r !== "owner").map((r) => (
              <option key={r}>{r}</option>
            ))}
          </select>
        </label>
        <label>
          Valid for
          <select value={life} onChange={(e) => setLife(Number(e.currentTarget.value))}>
            {LIFETIMES.map((l) => (
              <option key={l.s} value={l.s}>{l.said}</option>
            ))}
          </select>
        </label>
        <button class="primary">Make a link</button>
      </form>
      {made && (
        <p class="link">
          <input readOnly aria-label="Invite link" value={made.url} onFocus={(e) => e.currentTarget.select()} data-testid="invite-link" />
          <CopyButton text={made.url ?? ""} />
          <span class="dim small">shown once; who has it joins as {made.role}</span>
        </p>
      )}
      <Notice of={error ?? known.error} />
      {known.data && known.data.length > 0 && (
        <table class="list">
          <thead>
            <tr><th scope="col">Link</th><th scope="col">Role</th><th scope="col">Ends</th><th scope="col"><span class="sr">Revoke</span></th></tr>
          </thead>
          <tbody>
            {known.data.map((i) => (
              <tr key={i.id}>
                <td class="mono">{i.id.slice(0, 10)}</td>
                <td>{i.role}</td>
                <td class="num">{day(i.expires_at)}</td>
                <td>
                  <button onClick={() => api.revoke(room.id, i.id).then(known.again, (e) => setError(trouble(e)))}>Revoke</button>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </Dialog>
  );
}
