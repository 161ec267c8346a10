// How is text with secrets' handles shown? A handle is a chip; the owner may ask what stands behind it.
import type { ComponentChildren } from "preact";
import { useContext, useEffect, useState } from "preact/hooks";
import { createContext } from "preact";
import { api } from "./api";
import type { Room } from "./room";
import { Dialog, Notice, trouble, type Trouble } from "./ui";

const HANDLE = /‹[^‹›\n]{1,120}›/g;

export const Reveal = createContext<((handle: string) => void) | null>(null);

export function Handle({ of }: { of: string }) {
  const reveal = useContext(Reveal);
  const name = of.slice(1, -1).replace(/^secret:/, "");
  if (!reveal || !of.startsWith("‹secret:")) return <span class="handle" title="a secret; its value is not shown">{of}</span>;
  return (
    <button class="handle" title={`reveal ${name}: recorded under your name`} aria-label={`secret ${name}, reveal`} onClick={(e) => { e.stopPropagation(); reveal(of); }}>
      {of}
    </button>
  );
}

export function Rich({ text }: { text: string }) {
  const parts: ComponentChildren[] = [];
  let from = 0;
  for (const m of text.matchAll(HANDLE)) {
    if (m.index > from) parts.push(text.slice(from, m.index));
    parts.push(<Handle key={m.index} of={m[0]} />);
    from = m.index + m[0].length;
  }
  if (!parts.length) return <>{text}</>;
  parts.push(text.slice(from));
  return <>{parts}</>;
}

const SHOWN_S = 30;

export function RevealDialog({ room, handle, close }: { room: Room; handle: string; close: () => void }) {
  const [reason, setReason] = useState("");
  const [value, setValue] = useState<string | null>(null);
  const [left, setLeft] = useState(SHOWN_S);
  const [error, setError] = useState<Trouble | null>(null);
  useEffect(() => {
    if (value === null) return;
    const timer = setInterval(() => setLeft((n) => n - 1), 1000);
    return () => clearInterval(timer);
  }, [value === null]);
  useEffect(() => {
    if (left <= 0) close();
  }, [left]);
  return (
    <Dialog title="Reveal a secret" onClose={close}>
      <p>
        <code>{handle}</code>
      </p>
      {value === null ? (
        <form
          onSubmit={async (e) => {
            e.preventDefault();
            setError(null);
            try {
              setValue(await api.reveal(room.id, handle, reason));
            } catch (e) {
              setError(trouble(e));
            }
          }}
        >
          <p class="dim">Only you will see it, for {SHOWN_S} seconds. That you looked, when and why is recorded and everybody in the session sees it.</p>
          <label>
            Why do you need it?
            <input required maxLength={200} autofocus value={reason} onInput={(e) => setReason(e.currentTarget.value)} />
          </label>
          <button class="primary">Reveal</button>
        </form>
      ) : (
        <>
          <pre class="revealed" data-testid="revealed">{value}</pre>
          <p class="dim" role="timer">
            hidden again in {left} s
          </p>
          <button onClick={close}>Hide now</button>
        </>
      )}
      <Notice of={error} />
    </Dialog>
  );
}
