// Is this event really in the ledger? An inclusion proof (RFC 9162, 2.1.3.2) checked here, by the browser itself.
import type { Proof } from "./types";

function bytes(hex: string): Uint8Array<ArrayBuffer> {
  if (!/^([0-9a-f]{2})*$/i.test(hex)) throw new Error("not hexadecimal");
  const out = new Uint8Array(new ArrayBuffer(hex.length / 2));
  for (let i = 0; i < out.length; i++) out[i] = parseInt(hex.slice(2 * i, 2 * i + 2), 16);
  return out;
}

export function hex(data: ArrayBuffer): string {
  return [...new Uint8Array(data)].map((b) => b.toString(16).padStart(2, "0")).join("");
}

async function node(left: string, right: string): Promise<string> {
  const l = bytes(left);
  const r = bytes(right);
  const both = new Uint8Array(new ArrayBuffer(1 + l.length + r.length));
  both[0] = 1;
  both.set(l, 1);
  both.set(r, 1 + l.length);
  return hex(await crypto.subtle.digest("SHA-256", both));
}

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
        fn = Math.floor(fn / 2);
        sn = Math.floor(sn / 2);
      }
    } else {
      root = await node(root, p);
    }
    fn = Math.floor(fn / 2);
    sn = Math.floor(sn / 2);
  }
  if (sn !== 0) throw new Error("the path is too short");
  return root;
}

export interface Checked {
  ok: boolean;
  root: string;
  size: number;
  signed: boolean; // the root is one the ledger's key signed
  key: string;
  why: string;
}

export async function check(proof: Proof, seq: number): Promise<Checked> {
  const told = proof.checkpoint?.root ?? proof.root ?? "";
  const base = { root: told, size: proof.size, signed: !!proof.checkpoint?.signature, key: proof.checkpoint?.key ?? "" };
  if (!globalThis.crypto?.subtle) return { ...base, ok: false, why: "this browser hashes only on https or localhost" };
  if (proof.index !== seq - 1) return { ...base, ok: false, why: "the proof is for another event" };
  if (proof.checkpoint?.size !== undefined && proof.checkpoint.size !== proof.size) return { ...base, ok: false, why: "the proof and the checkpoint differ in size" };
  try {
    const root = await rootOf(proof.leaf, proof.index, proof.size, proof.path);
    return { ...base, ok: root === told, why: root === told ? "" : "the computed root is not the ledger's root" };
  } catch (error) {
    return { ...base, ok: false, why: (error as Error).message };
  }
}
