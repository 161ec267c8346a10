// Which sessions are there, and how is a new one begun?
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { api } from "./api";
import { useKeysOf } from "./keys";
import type { Me, SessionRow } from "./types";
import { day, Empty, Loading, Notice, plural, trouble, useLoad, type Trouble } from "./ui";

const STATES = ["", "running", "waiting", "held", "done", "failed", "stopped"];

export function State({ of }: { of: string }) {
  const kind = /run|live|start/.test(of) ? "runs" : /wait|held|asks/.test(of) ? "asks" : /fail|error|refus/.test(of) ? "bad" : /done|ended|ok|finish/.test(of) ? "good" : "dim";
  return <span class={`state st-${kind}`}>{of || "unknown"}</span>;
}

export function Sessions({ me }: { me: Me }) {
  const [q, setQ] = useState("");
  const [state, setState] = useState("");
  const [chosen, setChosen] = useState(0);
  const [starting, setStarting] = useState(false);
  const found = useLoad(() => api.sessions(q, state), [q, state], 4000);
  const search = useRef<HTMLInputElement>(null);
  const rows = found.data ?? [];
  const at = Math.min(chosen, Math.max(0, rows.length - 1));
  useLayoutEffect(
    () =>
      useKeysOf({
        j: () => setChosen(Math.min(at + 1, rows.length - 1)),
        k: () => setChosen(Math.max(at - 1, 0)),
        Enter: () => rows[at] && (location.hash = `#/s/${rows[at]!.id}`),
        "/": () => search.current?.focus(),
        n: () => me.may.start && setStarting(true),
      }),
    [at, rows],
  );
  return (
    <div class="column">
      <div class="head">
        <h1>Sessions</h1>
        <span class="grow" />
        <input ref={search} type="search" class="search" placeholder="Search tasks and repositories  /" aria-label="Search sessions" value={q} onInput={(e) => setQ(e.currentTarget.value)} />
        <select aria-label="State" value={state} onChange={(e) => setState(e.currentTarget.value)}>
          {STATES.map((s) => (
            <option key={s} value={s}>
              {s || "every state"}
            </option>
          ))}
        </select>
        {me.may.start && (
          <button class="primary" aria-expanded={starting} onClick={() => setStarting(!starting)}>
            New session
          </button>
        )}
      </div>
      {starting && <Start close={() => setStarting(false)} />}
      <Notice of={found.error}>
        <button onClick={found.again}>Try again</button>
      </Notice>
      {!found.data && !found.error && <Loading what="sessions" />}
      {found.data && !rows.length && (
        <Empty title={q || state ? "Nothing fits this search." : "No session yet."}>
          <p class="dim">{q || state ? "Clear the search to see every session you may see." : "Start one here, or in the terminal: veilig fix PATH. Sessions of others appear when you are invited."}</p>
        </Empty>
      )}
      {rows.length > 0 && <Table rows={rows} at={at} />}
    </div>
  );
}

function Table({ rows, at }: { rows: SessionRow[]; at: number }) {
  return (
    <div class="tablebox" tabIndex={0} role="region" aria-label="Sessions">
      <table class="list">
        <thead>
          <tr>
            <th scope="col">Session</th>
            <th scope="col">State</th>
            <th scope="col" class="wide-only">Task</th>
            <th scope="col" class="wide-only">Repository</th>
            <th scope="col" class="wide-only num">Began</th>
            <th scope="col" class="wide-only num">Events</th>
            <th scope="col" class="wide-only">You</th>
            <th scope="col">Waits for</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((r, i) => (
            <tr key={r.id} class={i === at ? "chosen" : ""} onClick={() => (location.hash = `#/s/${r.id}`)}>
              <td>
                <a class="mono" href={`#/s/${r.id}`} onClick={(e) => e.stopPropagation()}>
                  {r.id}
                </a>
                <span class="phone-only clip">{r.task || r.repository}</span>
              </td>
              <td>
                <State of={r.state} />
              </td>
              <td class="wide-only clip">{r.task || r.kind}</td>
              <td class="wide-only clip mono">{r.repository}</td>
              <td class="wide-only num">{day(r.started_at)}</td>
              <td class="wide-only num">{r.last_seq || ""}</td>
              <td class="wide-only">{r.role}</td>
              <td>{r.waiting ? <span class="badge asks">{plural(r.waiting, "vote")}</span> : <span class="dim">nobody</span>}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

const KINDS = [
  { id: "audit", label: "Scan", said: "find weaknesses; change nothing" },
  { id: "fix", label: "Fix", said: "find, repair in a copy, prove it" },
  { id: "run", label: "Task", said: "a task in words, for a model" },
  { id: "heal", label: "Heal", said: "watch services, and mend them as the policy allows" },
];

function Start({ close }: { close: () => void }) {
  const [kind, setKind] = useState("audit");
  const [task, setTask] = useState("");
  const [model, setModel] = useState("");
  const [path, setPath] = useState("");
  const [deliver, setDeliver] = useState("");
  const [file, setFile] = useState<File | null>(null);
  const [stage, setStage] = useState("");
  const [error, setError] = useState<Trouble | null>(null);
  const [watched, setWatched] = useState("");
  const [once, setOnce] = useState(false);
  const repos = useLoad(api.repositories, []);
  const services = useLoad(api.services, []);
  const heals = kind === "heal";
  const fleet = watched || services.data?.[0] || "";
  const begin = async (e: Event): Promise<void> => {
    e.preventDefault();
    setError(null);
    try {
      let source: Record<string, string> = { path: heals ? fleet : path };
      if (heals) {
        if (!fleet) throw new Error("no services file is named: veilig serve --services FILE");
      } else if (file) {
        setStage("Uploading …");
        const up = await api.upload(file);
        source = { upload: up.upload };
      } else if (!path) {
        throw new Error("choose a repository or an archive");
      }
      setStage("Starting …");
      const begun = await api.start({ kind, source, ...(kind === "run" ? { task } : {}), ...(heals ? { once } : {}), ...((kind === "run" || heals) && model ? { model } : {}), ...(/^(fix|run)$/.test(kind) && deliver && !file ? { deliver } : {}) });
      location.hash = `#/s/${begun.id}`;
    } catch (e) {
      setError(trouble(e));
      setStage("");
    }
  };
  return (
    <form class="start" onSubmit={begin} aria-label="New session">
      <fieldset class="kinds">
        <legend>What</legend>
        {KINDS.map((k) => (
          <label key={k.id} class={kind === k.id ? "pick on" : "pick"}>
            <input type="radio" name="kind" value={k.id} checked={kind === k.id} onChange={() => setKind(k.id)} />
            <b>{k.label}</b> <span class="dim">{k.said}</span>
          </label>
        ))}
      </fieldset>
      {heals && (
        <fieldset>
          <legend>Which services</legend>
          <label>
            Services file on the server
            <select value={fleet} disabled={!services.data?.length} onChange={(e) => setWatched(e.currentTarget.value)}>
              {services.data?.length ? services.data.map((f) => <option key={f} value={f}>{f}</option>) : <option value="">none is named: veilig serve --services FILE, or collaboration.page.services in veilig.yaml</option>}
            </select>
          </label>
          <label class="pick">
            <input type="checkbox" checked={once} onChange={(e) => setOnce(e.currentTarget.checked)} />
            <b>Look once</b> <span class="dim">propose, report and end; otherwise it watches until it is stopped</span>
          </label>
          <label>
            <span>Model for a hypothesis where people are needed (empty: nobody is asked)</span>
            <input value={model} onInput={(e) => setModel(e.currentTarget.value)} />
          </label>
        </fieldset>
      )}
      {!heals && (
        <fieldset>
          <legend>Where</legend>
          <label>
            Repository on the server
            <input list="repositories" name="path" value={path} disabled={!!file} placeholder={repos.data?.length ? "choose or type a path" : "no allowed folder: collaboration.repositories in veilig.yaml"} onInput={(e) => setPath(e.currentTarget.value)} />
            <datalist id="repositories">{repos.data?.map((r) => <option key={r} value={r} />)}</datalist>
          </label>
          <label>
            or an archive (.zip, .tar.gz)
            <input type="file" accept=".zip,.tar.gz,.tgz,application/zip,application/gzip" onChange={(e) => setFile(e.currentTarget.files?.[0] ?? null)} />
          </label>
        </fieldset>
      )}
      {/^(fix|run)$/.test(kind) && !file && (
        <fieldset>
          <label>
            Afterwards
            <select value={deliver} onChange={(e) => setDeliver(e.currentTarget.value)}>
              <option value="">leave the changes in the copy, as a diff</option>
              <option value="apply">apply them to the repository, as the policy allows</option>
              <option value={`branch:veilig/${kind}`}>put them on the branch veilig/{kind}, as the policy allows</option>
            </select>
          </label>
        </fieldset>
      )}
      {kind === "run" && (
        <fieldset>
          <legend>Task</legend>
          <label>
            In words
            <textarea rows={3} required value={task} onInput={(e) => setTask(e.currentTarget.value)} />
          </label>
          <label>
            <span>Model (empty: as configured)</span>
            <input value={model} onInput={(e) => setModel(e.currentTarget.value)} />
          </label>
        </fieldset>
      )}
      <Notice of={error} />
      <div class="row">
        <button class="primary" disabled={!!stage}>
          {stage || "Start"}
        </button>
        <button type="button" onClick={close}>
          Cancel
        </button>
        <span class="dim small">{heals ? "Acts on the services themselves, only as the policy allows; where it asks, people decide." : "Works on a copy. Nothing reaches the world without the policy and, where it says so, people."}</span>
      </div>
    </form>
  );
}
