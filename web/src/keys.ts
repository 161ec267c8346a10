// Which key does what? One listener; the page that is shown says what its keys mean.
type Keys = Record<string, (e: KeyboardEvent) => void>;

const stack: Keys[] = [];
const STORE = "veilig.keys";

export function keysOn(): boolean {
  return localStorage.getItem(STORE) !== "off";
}

export function setKeysOn(on: boolean): void {
  localStorage.setItem(STORE, on ? "on" : "off");
}

// Called from a layout effect: after paint would be too late for two keys in a row.
export function useKeysOf(keys: Keys): () => void {
  stack.push(keys);
  return () => {
    const at = stack.indexOf(keys);
    if (at >= 0) stack.splice(at, 1);
  };
}

function typing(target: EventTarget | null): boolean {
  const el = target as HTMLElement | null;
  if (!el?.tagName) return false;
  return /^(INPUT|TEXTAREA|SELECT)$/.test(el.tagName) ? (el as HTMLInputElement).type !== "range" : el.isContentEditable;
}

addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey) return;
  if (typing(e.target)) {
    if (e.key === "Escape") (e.target as HTMLElement).blur();
    return;
  }
  if (document.querySelector("dialog[open]")) return;
  if (!keysOn() && e.key.length === 1) return;
  const el = e.target as HTMLElement;
  if ((e.key === "Enter" || e.key === " ") && /^(BUTTON|A|SUMMARY)$/.test(el.tagName)) return;
  for (let i = stack.length - 1; i >= 0; i--) {
    const act = stack[i]?.[e.key];
    if (act) {
      e.preventDefault();
      act(e);
      return;
    }
  }
});
