// Which small pieces does every page use? Glyphs, times, notices, dialogs, hooks.
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { Refused } from "./api";
import type { Mark } from "./room";

export const GLYPH: Record<Mark, string> = { done: "✓", failed: "✕", refused: "⊘", waits: "?", runs: "▸", note: "·", person: "◦", doubt: "~" };

export function Glyph({ mark, label }: { mark: Mark; label?: string }) {
  return (
    <span class={`glyph m-${mark}`} role="img" aria-label={label ?? mark}>
      {GLYPH[mark]}
    </span>
  );
}

const two = (n: number): string => String(n).padStart(2, "0");

export function clock(at: number): string {
  const d = new Date(at);
  return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
}

export function day(at: number): string {
  if (!at) return "-";
  const d = new Date(at);
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${two(d.getHours())}:${two(d.getMinutes())}`;
}

export function span(ms: number): string {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  const s = ms / 1000;
  if (s < 60) return `${s.toFixed(s < 10 ? 1 : 0)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.round(s % 60)} s`;
  return `${Math.floor(s / 3600)} h ${Math.round((s % 3600) / 60)} min`;
}

export const plural = (n: number, one: string, many = `${one}s`): string => `${n} ${n === 1 ? one : many}`;

export interface Trouble {
  what: string;
  why: string;
  fix: string;
}

export function trouble(error: unknown): Trouble {
  if (error instanceof Refused) return { what: error.what, why: error.why, fix: error.fix };
  return { what: error instanceof Error ? error.message : String(error), why: "", fix: "" };
}

export function Notice({ of, kind = "bad", children }: { of: Trouble | null; kind?: "bad" | "warn" | "info"; children?: ComponentChildren }) {
  if (!of) return null;
  return (
    <div class={`notice n-${kind}`} role={kind === "bad" ? "alert" : "status"}>
      <strong>{of.what}</strong>
      {of.why && <span>why: {of.why}</span>}
      {of.fix && <span>what to do: {of.fix}</span>}
      {children}
    </div>
  );
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <p class="empty-title">{title}</p>
      {children}
    </div>
  );
}

export function Loading({ what }: { what: string }) {
  return (
    <div class="empty" role="status">
      <p class="dim">Loading {what} …</p>
      <div class="bars" aria-hidden="true">
        <i /> <i /> <i />
      </div>
    </div>
  );
}

export function Dialog({ title, onClose, children, wide }: { title: string; onClose: () => void; children: ComponentChildren; wide?: boolean }) {
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const box = ref.current;
    const before = document.activeElement as HTMLElement | null;
    if (box && !box.open) box.showModal();
    return () => before?.focus?.();
  }, []);
  return (
    <dialog
      ref={ref}
      class={wide ? "wide" : ""}
      aria-label={title}
      onCancel={(e) => {
        e.preventDefault();
        onClose();
      }}
      onClick={(e) => e.target === ref.current && onClose()}
    >
      <header class="dialog-head">
        <h2>{title}</h2>
        <button class="plain" aria-label="Close" onClick={onClose}>
          ✕
        </button>
      </header>
      <div class="dialog-body">{children}</div>
    </dialog>
  );
}

export function CopyButton({ text, label = "Copy" }: { text: string; label?: string }) {
  const [said, setSaid] = useState(label);
  return (
    <button
      onClick={async () => {
        try {
          await navigator.clipboard.writeText(text);
          setSaid("Copied");
        } catch {
          setSaid("Select and copy by hand");
        }
        setTimeout(() => setSaid(label), 2000);
      }}
    >
      {said}
    </button>
  );
}

// Runs `load` now and when `keys` change; keeps the last good answer while asking again.
export function useLoad<T>(load: () => Promise<T>, keys: unknown[], everyMs = 0): { data: T | null; error: Trouble | null; again: () => void } {
  const [data, setData] = useState<T | null>(null);
  const [error, setError] = useState<Trouble | null>(null);
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    let gone = false;
    const go = (): void => {
      load().then(
        (d) => {
          if (gone) return;
          setData(d);
          setError(null);
        },
        (e) => !gone && setError(trouble(e)),
      );
    };
    go();
    const timer = everyMs ? setInterval(() => document.visibilityState === "visible" && go(), everyMs) : 0;
    return () => {
      gone = true;
      clearInterval(timer);
    };
  }, [...keys, turn]);
  return { data, error, again: () => setTurn((t) => t + 1) };
}

export function useTick(ms: number): number {
  const [n, setN] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => setN((v) => v + 1), ms);
    return () => clearInterval(timer);
  }, [ms]);
  return n;
}

export function useWidth(): number {
  const [w, setW] = useState(innerWidth);
  useEffect(() => {
    const f = (): void => setW(innerWidth);
    addEventListener("resize", f);
    return () => removeEventListener("resize", f);
  }, []);
  return w;
}

export function Tabs<T extends string>({ name, tabs, now, pick }: { name: string; tabs: { id: T; label: string; badge?: string | number }[]; now: T; pick: (t: T) => void }) {
  const move = (e: KeyboardEvent & { currentTarget: HTMLElement }): void => {
    const at = tabs.findIndex((t) => t.id === now);
    const to = e.key === "ArrowRight" ? at + 1 : e.key === "ArrowLeft" ? at - 1 : -1;
    const next = to < 0 ? undefined : tabs[to % tabs.length];
    if (!next || (e.key === "ArrowLeft" && at === 0)) return;
    e.preventDefault();
    pick(next.id);
    (e.currentTarget.querySelector(`[data-tab="${next.id}"]`) as HTMLElement | null)?.focus();
  };
  return (
    <div class="tabs" role="tablist" aria-label={name} onKeyDown={move}>
      {tabs.map((t) => (
        <button key={t.id} role="tab" id={`tab-${t.id}`} aria-controls={`panel-${t.id}`} data-tab={t.id} aria-selected={t.id === now} tabIndex={t.id === now ? 0 : -1} onClick={() => pick(t.id)}>
          {t.label}
          {t.badge ? <span class="badge">{t.badge}</span> : null}
        </button>
      ))}
    </div>
  );
}
