// Is this event really in the ledger? Proofs of RFC 9162 (2.1.3.2 inclusion, 2.1.4.2 consistency), checked by the browser.
import type { Proof } from "./types";

type Bytes = Uint8Array<ArrayBuffer>;

function bytes(hex: string): Bytes {
  if (!/^([0-9a-f]{2})*$/i.test(hex)) throw new Error("not hexadecimal");
  const out = new Uint8Array(new ArrayBuffer(hex.length / 2));
  for (let i = 0; i < out.length; i++) out[i] = parseInt(hex.slice(2 * i, 2 * i + 2), 16);
  return out;
}

async function sha256(...parts: Bytes[]): Promise<string> {
  const all = new Uint8Array(new ArrayBuffer(parts.reduce((n, p) => n + p.length, 0)));
  let at = 0;
  for (const p of parts) {
    all.set(p, at);
    at += p.length;
  }
  return [...new Uint8Array(await crypto.subtle.digest("SHA-256", all))].map((b) => b.toString(16).padStart(2, "0")).join("");
}

const node = (left: string, right: string): Promise<string> => sha256(new Uint8Array([1]), bytes(left), bytes(right));
const half = (n: number): number => Math.floor(n / 2);

// The root that follows from the leaf and the path; throws when the path has the wrong length.
export async function rootOf(leaf: string, index: number, size: number, path: string[]): Promise<string> {
  if (!(Number.isSafeInteger(index) && Number.isSafeInteger(size) && index >= 0 && index < size)) throw new Error("the index is outside the tree");
  let fn = index;
  let sn = size - 1;
  let root = leaf;
  for (const p of path) {
    if (sn === 0) throw new Error("the path is too long");
    if (fn % 2 === 1 || fn === sn) {
      root = await node(p, root);
      while (fn % 2 === 0 && fn !== 0) {
        fn = half(fn);
        sn = half(sn);
      }
    } else {
      root = await node(root, p);
    }
    fn = half(fn);
    sn = half(sn);
  }
  if (sn !== 0) throw new Error("the path is too short");
  return root;
}

// Whether the tree with root1 is the beginning of the tree with root2.
export async function begins(size1: number, root1: string, size2: number, root2: string, path: string[]): Promise<boolean> {
  if (!(size1 >= 1 && size1 <= size2)) return false;
  if (size1 === size2) return root1 === root2 && !path.length;
  const exact = Number.isInteger(Math.log2(size1));
  const hashes = exact ? [root1, ...path] : path;
  const first = hashes[0];
  if (first === undefined) return false;
  let fn = size1 - 1;
  let sn = size2 - 1;
  while (fn % 2 === 1) {
    fn = half(fn);
    sn = half(sn);
  }
  let fr = first;
  let sr = first;
  for (const c of hashes.slice(1)) {
    if (sn === 0) return false;
    if (fn % 2 === 1 || fn === sn) {
      fr = await node(c, fr);
      sr = await node(c, sr);
      while (fn % 2 === 0 && fn !== 0) {
        fn = half(fn);
        sn = half(sn);
      }
    } else {
      sr = await node(sr, c);
    }
    fn = half(fn);
    sn = half(sn);
  }
  return fr === root1 && sr === root2 && sn === 0;
}

export interface Checked {
  ok: boolean;
  root: string;
  size: number;
  signed: boolean; // a checkpoint signed by `key` covers this event and is the beginning of this ledger
  key: string;
  whole: boolean; // the event's own text was hashed here, not only its commitment
  why: string;
}

export async function check(proof: Proof, seq: number): Promise<Checked> {
  const found: Checked = { ok: false, root: proof.root, size: proof.size, signed: false, key: "", whole: false, why: "" };
  const no = (why: string): Checked => ({ ...found, why });
  if (!globalThis.crypto?.subtle) return no("this browser computes hashes only on https or localhost");
  if (proof.index !== seq - 1) return no("the proof is for another event");
  try {
    if (proof.entry !== undefined) {
      const text = new TextEncoder().encode(proof.entry);
      if ((await sha256(new Uint8Array([0]), text as Bytes)) !== proof.leaf) return no("the event's text does not give its leaf");
      const entry = JSON.parse(proof.entry) as { seq?: number; v?: number; body?: unknown };
      if (entry.seq !== seq) return no("the text is of another event");
      if (proof.salt !== undefined && proof.body !== undefined) {
        const body = new TextEncoder().encode(proof.body);
        if ((await sha256(bytes(proof.salt), body as Bytes)) !== entry.body) return no("the event's body is not what its leaf commits to");
      }
      found.whole = entry.v === 1 || proof.body !== undefined;
    }
    if ((await rootOf(proof.leaf, proof.index, proof.size, proof.path)) !== proof.root) return no("the computed root is not the ledger's root");
    const c = proof.checkpoint;
    if (c) {
      const same = c.consistency;
      if (same.size === proof.size && same.root !== proof.root) return no("the ledger told two roots for one size");
      if (!(await begins(c.size, c.root, same.size, same.root, same.path))) return no("the ledger does not begin with what its last checkpoint signed");
      found.signed = c.size >= seq;
      found.key = c.key;
    }
  } catch (error) {
    return no((error as Error).message);
  }
  return { ...found, ok: true };
}
