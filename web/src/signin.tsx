// Who are you? Sign-in by name and password or by the organisation, and joining by a link.
import { useState } from "preact/hooks";
import { api } from "./api";
import type { Me } from "./types";
import { Notice, trouble, useLoad, type Trouble } from "./ui";

export function SignIn({ done, after }: { done: () => void; after?: string }) {
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  const [error, setError] = useState<Trouble | null>(null);
  const [busy, setBusy] = useState(false);
  const providers = useLoad(api.providers, []);
  return (
    <section class="door">
      <h1>Sign in</h1>
      <p class="dim">{after ?? "Watch, steer and approve what runs on this machine, inside the bounds of its operator."}</p>
      <form
        onSubmit={async (e) => {
          e.preventDefault();
          setBusy(true);
          setError(null);
          try {
            await api.signIn(name, password);
            done();
          } catch (e) {
            setError(trouble(e));
            setPassword("");
          }
          setBusy(false);
        }}
      >
        <label>
          Name
          <input name="name" autocomplete="username" required value={name} onInput={(e) => setName(e.currentTarget.value)} />
        </label>
        <label>
          Password
          <input name="password" type="password" autocomplete="current-password" required value={password} onInput={(e) => setPassword(e.currentTarget.value)} />
        </label>
        <button class="primary" disabled={busy}>
          {busy ? "Signing in …" : "Sign in"}
        </button>
      </form>
      {providers.data?.map((p) => (
        <a key={p.id} class="button" href={p.url}>
          Sign in with {p.name}
        </a>
      ))}
      <Notice of={error} />
      <p class="dim small">No account yet? Its operator adds one: veilig people add NAME</p>
    </section>
  );
}

export function Join({ token, me, done }: { token: string; me: Me; done: () => void }) {
  const [name, setName] = useState("");
  const [error, setError] = useState<Trouble | null>(null);
  const [busy, setBusy] = useState(false);
  const join = async (): Promise<void> => {
    setBusy(true);
    setError(null);
    try {
      const joined = (await api.accept(token, me.person ? undefined : name)) as { session?: string };
      done();
      location.hash = joined.session ? `#/s/${joined.session}` : "#/";
    } catch (e) {
      setError(trouble(e));
    }
    setBusy(false);
  };
  return (
    <section class="door">
      <h1>You are invited to a session</h1>
      <p class="dim">The link carries a role and an end. What you do there is recorded under your name.</p>
      <form
        onSubmit={(e) => {
          e.preventDefault();
          void join();
        }}
      >
        {me.person ? (
          <p>
            You join as <strong>{me.person.name}</strong>.
          </p>
        ) : (
          <label>
            Your name, as the others will see it
            <input name="name" autocomplete="nickname" required maxLength={40} value={name} onInput={(e) => setName(e.currentTarget.value)} />
          </label>
        )}
        <button class="primary" disabled={busy}>
          {busy ? "Joining …" : "Join"}
        </button>
      </form>
      <Notice of={error} />
    </section>
  );
}
