// What waits for a decision, what exactly would be done, and who has said what?
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { api } from "./api";
import { parse } from "./diff";
import { useKeysOf } from "./keys";
import { Rich } from "./rich";
import type { Approval, Me } from "./types";
import { clock, Empty, Loading, Notice, span, trouble, useLoad, useTick, type Trouble } from "./ui";

// Acts of these classes take a second press: a slipped key must not delete anything.
const GRAVE = /destructive|security|database|delete|irrevers/;

function Expiry({ at }: { at: number | null }) {
  useTick(1000);
  if (at === null) return null;
  const left = at - Date.now();
  return <span class={left < 60000 ? "bad" : "dim"}>{left <= 0 ? "expired" : `expires in ${span(left)}`}</span>;
}

export function Approvals({ id, changed }: { id: string; me: Me; changed: () => void }) {
  const [every, setEvery] = useState(false);
  const found = useLoad(() => api.approvals(every), [id, every], 4000);
  const list = (found.data ?? []).filter((a) => every || a.state === "open" || a.id === id);
  const at = list.findIndex((a) => a.id === id);
  const to = (n: number): void => {
    const next = list[Math.max(0, Math.min(n, list.length - 1))];
    if (next) location.hash = `#/approvals/${next.id}`;
  };
  useLayoutEffect(() => useKeysOf({ j: () => to(at + 1), k: () => to(at - 1), Enter: () => at < 0 && to(0) }), [at, found.data]);
  return (
    <div class={`inbox${id ? " has-one" : ""}`}>
      <section class="inbox-list" aria-label="Approvals">
        <div class="head">
          <h1>Approvals</h1>
          <label class="check small">
            <input type="checkbox" checked={every} onChange={(e) => setEvery(e.currentTarget.checked)} /> also answered
          </label>
        </div>
        <Notice of={found.error} />
        {!found.data && !found.error && <Loading what="approvals" />}
        {found.data && !list.length && <Empty title="Nothing waits for you."><p class="dim">Acts that the policy lets people decide appear here, with what exactly would be done.</p></Empty>}
        <ul>
          {list.map((a) => (
            <li key={a.id}>
              <a class="arow" href={`#/approvals/${a.id}`} aria-current={a.id === id ? "true" : undefined}>
                <span class="atitle">{a.title}</span>
                <span class="small">
                  <span class={`state st-${a.state === "open" ? "asks" : a.state === "denied" ? "bad" : "dim"}`}>{a.state === "open" ? "waits" : a.state}</span>
                  <span class="mono dim">{a.session}</span> <Expiry at={a.state === "open" ? a.expires_at : null} />
                </span>
              </a>
            </li>
          ))}
        </ul>
      </section>
      <section class="inbox-one" aria-label="The act to decide">
        {id ? <One id={id} key={id} changed={() => { found.again(); changed(); }} /> : found.data && list.length > 0 ? <Empty title="Choose an act to decide." /> : null}
      </section>
    </div>
  );
}

function One({ id, changed }: { id: string; changed: () => void }) {
  const found = useLoad(() => api.approval(id), [id], 3000);
  const [reason, setReason] = useState("");
  const [error, setError] = useState<Trouble | null>(null);
  const [armed, setArmed] = useState<"" | "approve" | "deny">("");
  const [busy, setBusy] = useState(false);
  const field = useRef<HTMLInputElement>(null);
  const a = found.data;
  const open = (a?.state === "open" || a?.state === "approved") && a.may_vote;
  const send = async (verdict: "approve" | "deny"): Promise<void> => {
    setBusy(true);
    setError(null);
    try {
      await api.vote(id, verdict, reason);
      setArmed("");
      found.again();
      changed();
    } catch (e) {
      setError(trouble(e));
    }
    setBusy(false);
  };
  const grave = !!a && ([...a.classes, ...a.effects].some((c) => GRAVE.test(c)) || !a.classes.length);
  const vote = (verdict: "approve" | "deny"): void => {
    if (!open || busy) return;
    if (verdict === "approve" && grave && armed !== "approve") return setArmed("approve");
    if (verdict === "deny" && armed !== "deny") {
      setArmed("deny");
      field.current?.focus();
      return;
    }
    void send(verdict);
  };
  useLayoutEffect(() => useKeysOf({ a: () => vote("approve"), d: () => vote("deny"), Escape: () => (armed ? setArmed("") : (location.hash = "#/approvals")) }), [a, armed, reason, busy]);
  if (!a) return found.error ? <Notice of={found.error} /> : <Loading what="the act" />;
  return (
    <article class="approval" data-testid="approval">
      <a class="back" href="#/approvals">← all approvals</a>
      <h2><Rich text={a.title} /></h2>
      <p class="row small">
        <span class={`state st-${a.state === "open" ? "asks" : a.state === "denied" ? "bad" : "dim"}`}>{a.state === "open" ? "waits for people" : a.state}</span>
        {[...new Set([...a.classes, ...a.effects])].map((c) => <span key={c} class="chip">{c}</span>)}
        <Expiry at={a.state === "open" ? a.expires_at : null} />
      </p>
      <dl class="facts">
        <div><dt>proposed by</dt><dd>{a.proposer.name} <span class="dim">{a.proposer.kind}</span> in <a href={`#/s/${a.session}${a.evidence[0] ? `/${a.evidence[0]}` : ""}`}>{a.session}</a></dd></div>
        {a.why.length > 0 && <div><dt>why it asks</dt><dd>{a.why.map((w, i) => <p key={i}><Rich text={w} /></p>)}</dd></div>}
        {a.touches.length > 0 && <div><dt>touches</dt><dd><ul class="touches">{a.touches.map((t, i) => <li key={i} class="mono"><Rich text={t} /></li>)}</ul></dd></div>}
        <div><dt>needs</dt><dd>{a.needs.map((n, i) => <p key={i}>{n.quorum} {n.quorum === 1 ? "person" : "people"}{n.roles.length ? ` of ${n.roles.join(" or ")}` : ""}{n.gateway ? <span class="dim"> for {n.gateway}</span> : null}, never the proposer</p>)}{a.state === "open" && a.missing && <p class="dim">still missing: {a.missing}</p>}</dd></div>
        {a.evidence.length > 0 && <div><dt>evidence</dt><dd class="row">{a.evidence.map((s) => <a key={s} href={`#/s/${a.session}/${s}`}>#{s}</a>)}</dd></div>}
        {a.digest && <div><dt>digest</dt><dd class="mono dim clip">{a.digest}</dd></div>}
      </dl>
      {a.preview && (
        <>
          <h3>Exactly this</h3>
          <Preview text={a.preview} />
        </>
      )}
      <h3>Votes</h3>
      <ul class="votes" data-testid="votes">
        {a.votes.map((v, i) => (
          <li key={i}>
            <span class={v.verdict === "approve" ? "good" : "bad"}>{v.verdict === "approve" ? "✓ approved" : "✕ denied"}</span> <b>{v.who.name}</b> {v.at ? <span class="dim">{clock(v.at)}</span> : null} {v.reason && <Rich text={v.reason} />}
          </li>
        ))}
        {!a.votes.length && <li class="dim">nobody yet</li>}
      </ul>
      {a.state === "open" && !a.may_vote && <Notice kind="info" of={a.voted ? { what: "You have voted", why: "", fix: "" } : { what: "You cannot vote on this", why: a.may_not_why || "your role may not", fix: "" }} />}
      {open && (
        <form class="vote" onSubmit={(e) => { e.preventDefault(); void send(armed === "deny" ? "deny" : "approve"); }}>
          <label>
            <span>Reason (recorded with the vote)</span>
            <input ref={field} maxLength={300} value={reason} onInput={(e) => setReason(e.currentTarget.value)} />
          </label>
          <div class="row">
            <button type="button" class="approve" disabled={busy} onClick={() => vote("approve")}>{armed === "approve" ? "Press again to approve" : "Approve"} <kbd>a</kbd></button>
            <button type="button" class="deny" disabled={busy} onClick={() => vote("deny")}>{armed === "deny" ? "Press again to deny" : "Deny"} <kbd>d</kbd></button>
          </div>
          <p class="dim small" role="status">{armed === "approve" ? "This class of act cannot be taken back. Press again, or Escape." : armed === "deny" ? "Say why if you can; a denial is final for an hour." : "Counts for exactly the act shown, once."}</p>
        </form>
      )}
      <Notice of={error} />
    </article>
  );
}

function Preview({ text }: { text: string }) {
  const diff = /^(diff --git|--- )/m.test(text) && parse(text).length > 0;
  return (
    <pre class="preview" tabIndex={0}>
      {diff ? text.split("\n").map((l, i) => <span key={i} class={/^(\+\+\+|---|diff|@@)/.test(l) ? "dim" : l.startsWith("+") ? "d-plus" : l.startsWith("-") ? "d-minus" : ""}>{l}{"\n"}</span>) : <Rich text={text} />}
    </pre>
  );
}

export type { Approval };
