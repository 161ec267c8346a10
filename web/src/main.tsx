// Where does the page begin? Who is here, which page is shown, and the bar above it.
import { render } from "preact";
import { useEffect, useLayoutEffect, useState } from "preact/hooks";
import { api, Refused } from "./api";
import { Approvals } from "./approvals";
import { Help } from "./help";
import { useKeysOf } from "./keys";
import { SessionPage } from "./session";
import { Sessions } from "./sessions";
import { Join, SignIn } from "./signin";
import type { Approval, Me } from "./types";
import { Loading, Notice, trouble, type Trouble } from "./ui";

function route(): string[] {
  return location.hash.replace(/^#\/?/, "").split("?")[0]!.split("/").map(decodeURIComponent);
}

function App() {
  const [me, setMe] = useState<Me | null>(null);
  const [error, setError] = useState<Trouble | null>(null);
  const [at, setAt] = useState(route());
  const [help, setHelp] = useState(false);
  const [waiting, setWaiting] = useState<Approval[]>([]);

  const later = (e: unknown): void => {
    setError(trouble(e));
    setTimeout(load, 3000); // the server may be starting: the page comes by itself
  };
  const load = (): void => {
    api.me().then(
      (m) => {
        setMe(m);
        setError(null);
      },
      (e) => (e instanceof Refused && (e.status === 401 || e.status === 403) ? setMe({ person: null, csrf: "", may: { start: false, admin: false } }) : later(e)),
    );
  };
  useEffect(load, []);
  useEffect(() => {
    const f = (): void => setAt(route());
    addEventListener("hashchange", f);
    return () => removeEventListener("hashchange", f);
  }, []);
  useLayoutEffect(
    () =>
      useKeysOf({
        "?": () => setHelp(true),
        g: () => (location.hash = "#/"),
        w: () => (location.hash = "#/approvals"),
      }),
    [],
  );
  const person = me?.person ?? null;
  useEffect(() => {
    if (!person) return;
    const go = (): void => void api.approvals().then((a) => setWaiting(a.filter((x) => x.state === "open" && x.may_vote)), () => undefined);
    go();
    const timer = setInterval(() => document.visibilityState === "visible" && go(), 5000);
    return () => clearInterval(timer);
  }, [person?.id]);
  useEffect(() => {
    document.title = waiting.length ? `(${waiting.length}) veilig` : "veilig";
  }, [waiting.length]);

  let shown;
  if (error) shown = <div class="column"><Notice of={error}><button onClick={load}>Try again</button></Notice></div>;
  else if (!me) shown = <Loading what="the page" />;
  else if (at[0] === "join" && at[1]) shown = <Join token={at[1]} me={me} done={load} />;
  else if (!person) shown = <SignIn done={load} />;
  else if (at[0] === "s" || at[0] === "sessions") shown = at[1] ? <SessionPage key={at[1]} id={at[1]} me={me} view={at[2] ?? ""} /> : <Sessions me={me} />;
  else if (at[0] === "approvals") shown = <Approvals id={at[1] ?? ""} me={me} changed={() => api.approvals().then((a) => setWaiting(a.filter((x) => x.state === "open" && x.may_vote)), () => undefined)} />;
  else shown = <Sessions me={me} />;

  const here = at[0] === "approvals" ? "approvals" : "sessions";
  return (
    <>
      <a class="skip" href="#main" onClick={(e) => { e.preventDefault(); document.getElementById("main")?.focus(); }}>
        Skip to the content
      </a>
      <header class="bar">
        <a class="brand" href="#/">
          <svg viewBox="0 0 32 32" aria-hidden="true"><path d="M7 9l9 15 9-15" /></svg>veilig
        </a>
        {person && (
          <nav aria-label="Pages">
            <a href="#/" aria-current={here === "sessions" ? "page" : undefined}>Sessions</a>
            <a href="#/approvals" aria-current={here === "approvals" ? "page" : undefined}>
              Approvals{waiting.length ? <span class="badge asks">{waiting.length}<span class="sr"> waiting</span></span> : null}
            </a>
          </nav>
        )}
        <span class="grow" />
        {person && (
          <>
            <span class="me" title={person.id}>{person.name}</span>
            <button class="plain" onClick={() => setHelp(true)} aria-label="Keys and help">?</button>
            <button class="plain" onClick={() => api.signOut().then(() => location.reload(), (e) => setError(trouble(e)))}>Sign out</button>
          </>
        )}
      </header>
      <main id="main" tabIndex={-1}>{shown}</main>
      {help && <Help close={() => setHelp(false)} />}
    </>
  );
}

render(<App />, document.getElementById("page") as HTMLElement);
