"""Train the monitor's classifier, and say what it is worth on sources it has not seen.

    python -m venv V && V/bin/pip install scikit-learn
    V/bin/python bench/monitor/train.py DATA.jsonl [--write src/veilig/monitor/classifier.json.gz]

DATA: lines of {text, label, source, may_redistribute}. Rows that may not be redistributed are only
evaluated on.
Needs scikit-learn for fitting; the product reads the weights without it (src/veilig/monitor/classifier.py).
"""

import argparse
import gzip
import json
import math
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from pairs import everyday, pairs
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

WORD = re.compile(r"[a-z][a-z0-9_+#'-]*|\d+")
BOILERPLATE = re.compile(
    r"^I'd like you to write some code for execution in a code interpreter to help me solve a problem\.\s*"
)
TRAILER = re.compile(
    r"^(?:signed-off-by|co-authored-by|reviewed-by|change-id|closes|refs|fixes):? .*$",
    re.IGNORECASE | re.MULTILINE,
)
CHARS_MAX, SCALE = 60_000, 1000


def clean(text: str) -> str:
    return TRAILER.sub("", BOILERPLATE.sub("", text)).strip()


def features(text: str) -> set[str]:
    words = WORD.findall(text[:CHARS_MAX].lower())
    return {*words, *map(" ".join, zip(words, words[1:], strict=False))}


def vocabulary(texts: list[str], sources: list[str], least: int, most: int) -> dict[str, int]:
    """Features of at least `least` texts and two sources: what one source alone says is its style."""
    count: Counter[str] = Counter()
    seen: dict[str, set[str]] = defaultdict(set)
    for text, source in zip(texts, sources, strict=True):
        for f in features(text):
            count[f] += 1
            seen[f].add(source)
    kept = [f for f, n in count.most_common() if n >= least and len(seen[f]) >= 2][:most]
    return {f: i for i, f in enumerate(kept)}


def matrix(texts: list[str], vocab: dict[str, int]) -> csr_matrix:
    rows, cols, values = [], [], []
    for i, text in enumerate(texts):
        found = features(text)
        norm = 1 / math.sqrt(len(found) or 1)
        for f in found:
            if f in vocab:
                rows.append(i)
                cols.append(vocab[f])
                values.append(norm)
    return csr_matrix((values, (rows, cols)), shape=(len(texts), len(vocab)))


class Model:
    def __init__(self, rows: list[tuple[str, int, str]], c: float, least: int, most: int) -> None:
        texts, labels, sources = [r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows]
        self.vocab = vocabulary(texts, sources, least, most)
        # each source weighs the same within its label, and both labels weigh the same
        per = Counter(zip(labels, sources, strict=True))
        groups = Counter(label for label, _ in per)
        boost = {"pairs": 3.0}
        weights = [
            boost.get(s, 1.0) * len(rows) / (2 * groups[y] * per[y, s])
            for y, s in zip(labels, sources, strict=True)
        ]
        fit = LogisticRegression(C=c, max_iter=400)
        fit.fit(matrix(texts, self.vocab), labels, sample_weight=weights)
        self.weights, self.bias = fit.coef_[0], float(fit.intercept_[0])

    def margins(self, texts: list[str]) -> np.ndarray:
        return matrix(texts, self.vocab) @ self.weights + self.bias


def load(path: str) -> tuple[list[tuple[str, int, str]], dict[str, list[str]]]:
    """Rows for training, and texts by source for evaluation only."""
    rows, held = [], defaultdict(list)
    for line in Path(path).read_text().splitlines():
        r = json.loads(line)
        text = clean(r["text"])
        if not text:
            continue
        if r["may_redistribute"]:
            rows.append((text, int(r["label"] == "malicious"), r["source"]))
        else:
            held[r["source"]].append(text)
    return rows, held


def own() -> list[tuple[str, int, str]]:
    found = [row for _, _, bad, good in pairs() for row in ((bad, 1, "pairs"), (good, 0, "pairs"))]
    return found + [(text, 0, "everyday") for text in everyday()]


def report(name: str, bad: np.ndarray, good: np.ndarray) -> None:
    at = np.quantile(bad, 0.1)
    strict = np.quantile(good, 0.97)
    print(
        f"{name:<58} AUC {roc_auc_score([1] * len(bad) + [0] * len(good), np.r_[bad, good]):.3f}"
        f"  FPR at TPR .9 {np.mean(good >= at):.3f}  TPR at FPR .03 {np.mean(bad > strict):.3f}"
    )


def evaluate(rows, held, args) -> None:
    def fit(without: set[str]) -> Model:
        return Model([r for r in rows if r[2] not in without] + own(), args.c, args.least, args.most)

    def of(*sources: str) -> list[str]:
        return [r[0] for r in rows if r[2] in sources] + [t for s in sources for t in held.get(s, ())]

    commits = {s for s in {r[2] for r in rows} if s.startswith("commits")}
    full = fit(set())
    bad = full.margins(of("rmcbench"))
    for s in ("cybermetric", "codealpaca", "alpaca_general"):
        report(f"all rows that may be shipped; rmcbench against {s}", bad, full.margins(of(s)))
    report(
        "... against the three together", bad, full.margins(of("cybermetric", "codealpaca", "alpaca_general"))
    )
    folds = [
        ({"purple_interpreter", "crwd_ti_qa", "crwd_malware_qa", "hand_fp_a"}, ("purple_interpreter",)),
        ({"cysecbench", "pypa_advisories", "hand_fp_a", "crwd_ti_qa"}, ("cysecbench",)),
    ]
    for without, positive in folds:
        model = fit(without | commits)
        negative = sorted(without - set(positive))
        report(
            f"without {positive[0]}; against {', '.join(negative)}",
            model.margins(of(*positive)),
            model.margins(of(*negative)),
        )
        report(
            f"without {positive[0]}; against commits",
            model.margins(of(*positive)),
            model.margins(of(*commits)),
        )
        others = of(*negative, *commits, "cybermetric", "codealpaca", "alpaca_general")
        report(
            f"without {positive[0]}; against all unseen", model.margins(of(*positive)), model.margins(others)
        )
    twins(rows, args)
    for s in ("hand_fp_a", "codealpaca", "alpaca_general"):
        model = fit({"hand_fp_a"})
        p = 1 / (1 + np.exp(-model.margins(of(s))))
        print(
            f"{s}, unseen: share above .5/.8/.85/.9: "
            + " ".join(f"{np.mean(p >= t):.3f}" for t in (0.5, 0.8, 0.85, 0.9))
        )
    p = 1 / (1 + np.exp(-bad))
    print(
        "rmcbench, unseen: share above .5/.8/.85/.9: "
        + " ".join(f"{np.mean(p >= t):.3f}" for t in (0.5, 0.8, 0.85, 0.9))
    )


def twins(rows, args) -> None:
    """Pairs of techniques and of frames that training has not seen (a quarter of each)."""
    everything = list(pairs())
    kinds = sorted({t for t, *_ in everything})
    aucs, wins = [], []
    for fold in range(4):
        out_t, out_f = set(kinds[fold::4]), {str(n) for n in range(12) if n % 4 == fold}
        seen = [
            (x, y, "pairs")
            for t, f, b, g in everything
            if t not in out_t and f not in out_f
            for x, y in ((b, 1), (g, 0))
        ]
        model = Model(rows + seen + [(t, 0, "everyday") for t in everyday()], args.c, args.least, args.most)
        test = [(b, g) for t, f, b, g in everything if t in out_t and f in out_f]
        bad, good = model.margins([b for b, _ in test]), model.margins([g for _, g in test])
        aucs.append(roc_auc_score([1] * len(bad) + [0] * len(good), np.r_[bad, good]))
        wins.append(float(np.mean(bad > good)))
    print(
        f"our pairs, techniques and frames unseen: AUC {np.mean(aucs):.3f}, "
        f"harmful twin scores higher {np.mean(wins):.3f}"
    )


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("data")
    ap.add_argument("--write")
    ap.add_argument("--c", type=float, default=0.5)
    ap.add_argument("--least", type=int, default=8)
    ap.add_argument("--most", type=int, default=5_000)
    ap.add_argument("--no-report", action="store_true")
    args = ap.parse_args()
    rows, held = load(args.data)
    if not args.no_report:
        evaluate(rows, held, args)
    if args.write:
        model = Model(rows + own(), args.c, args.least, args.most)
        top = float(np.abs(model.weights).max())
        stored = {f: round(SCALE * float(model.weights[i]) / top) for f, i in model.vocab.items()}
        value = {"weights": {f: w for f, w in stored.items() if w}, "bias": model.bias, "sharpness": top}
        data = gzip.compress(json.dumps(value, separators=(",", ":"), sort_keys=True).encode(), 9, mtime=0)
        Path(args.write).write_bytes(data)
        print(f"{len(value['weights'])} weights, {len(data)} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
