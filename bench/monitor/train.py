"""Train the monitor's classifier, and say what it is worth on sources it has not seen.

    python -m venv V && V/bin/pip install numpy scipy
    V/bin/python bench/monitor/train.py DATA.jsonl [--write src/veilig/monitor/classifier.json.gz]

DATA: lines of {text, label, source, may_redistribute}. Rows that may not be redistributed are only
evaluated on. The features are the product's own (src/veilig/monitor/classifier.py). Fitted are the logistic
loss, in which each source weighs as WEIGHT says within its label, and for twins the loss of their order.
"""

import argparse
import gzip
import json
import re
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_matrix, hstack
from written import Row, class_table, own_rows

sys.path.insert(0, str(Path(__file__).parents[2] / "src"))
from veilig.monitor.classifier import SCALE, Classes, features, words_of

BOILERPLATE = re.compile(
    r"^I'd like you to write some code for execution in a code interpreter to help me solve a problem\.\s*"
)
TRAILER = re.compile(
    r"^(?:signed-off-by|co-authored-by|reviewed-by|change-id|closes|refs|fixes):? .*$",
    re.IGNORECASE | re.MULTILINE,
)
# chosen by the mean over folds in which whole sources are left out, never by one source
WEIGHT = {
    "direct": 60.0,
    "framed": 6.0,
    "techniques": 2.0,
    "harmless": 60.0,
    "everyday": 10.0,
    "context": 6.0,
    "code": 6.0,
}
SOFTNESS, PAIRS, LEAST, ITERATIONS = 3000.0, 0.2, 8, 120
COMMITS = ("commits_kopf", "commits_trio", "commits_llm", "commits_inspect")
CROWD = ("crwd_ti_qa", "crwd_malware_qa")
ADVISORIES = ("pypa_advisories", "hand_fp_a")
UNSEEN = ("cybermetric", "codealpaca", "alpaca_general")
OWN = ("direct", "framed", "techniques", "context")


def clean(text: str) -> str:
    return TRAILER.sub("", BOILERPLATE.sub("", text)).strip()


def load(path: str) -> list[Row]:
    """Rows of the data and our own."""
    rows = []
    for line in Path(path).read_text().splitlines():
        r = json.loads(line)
        if text := clean(r["text"]):
            rows.append(Row(text, int(r["label"] == "malicious"), r["source"], train=r["may_redistribute"]))
    return rows + own_rows([r.text for r in rows if r.source in COMMITS and len(r.text) > 200])


class Data:
    """All rows as one sparse matrix: words, classes, pairs of classes."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows
        self.y = np.array([r.harmful for r in rows])
        self.source = np.array([r.source for r in rows])
        self.group = np.array([r.group for r in rows])
        self.pair = np.array([r.pair for r in rows])
        self.train = np.array([r.train for r in rows])
        self.table = class_table()
        classes = Classes(self.table)
        self.size = len(classes.names)
        seen = [features(words_of(r.text), classes) for r in rows]
        count: Counter[str] = Counter()
        sources: dict[str, set[str]] = defaultdict(set)
        for r, f in zip(rows, seen, strict=True):
            if r.train:
                count.update(f.words)
                for word in f.words:
                    sources[word].add(r.source)
        # what one source alone says is its style
        self.words = {
            w: i for i, w in enumerate(w for w, n in count.items() if n >= LEAST and len(sources[w]) > 1)
        }
        near: Counter[int] = Counter(
            a * self.size + b for r, f in zip(rows, seen, strict=True) if r.train for a, b in f.pairs
        )
        self.pairs = {p: i for i, p in enumerate(sorted(p for p, n in near.items() if n >= LEAST))}
        self.x = hstack([
            matrix([[(self.words.get(w), f.word_part()) for w in f.words] for f in seen], len(self.words)),
            matrix([[(c, f.class_part(n)) for c, n in f.classes.items()] for f in seen], self.size),
            matrix(
                [[(self.pairs.get(a * self.size + b), f.pair_part()) for a, b in f.pairs] for f in seen],
                len(self.pairs),
            ),
        ]).tocsr()  # fmt: skip

    def of(self, *sources: str) -> np.ndarray:
        return np.isin(self.source, sources)


def matrix(rows: list[list[tuple[int | None, float]]], width: int) -> csr_matrix:
    at, columns, values = [], [], []
    for i, row in enumerate(rows):
        for column, value in row:
            if column is not None:
                at.append(i)
                columns.append(column)
                values.append(value)
    return csr_matrix((values, (at, columns)), shape=(len(rows), width))


class Model:
    """Weights fitted on the rows of a mask."""

    def __init__(self, data: Data, mask: np.ndarray) -> None:
        self.data = data
        at = np.where(mask & data.train)[0]
        sign = data.y[at] * 2.0 - 1
        per = Counter(zip(data.y[at], data.source[at], strict=True))
        total = {label: sum(WEIGHT.get(s, 1.0) for y, s in per if y == label) for label in (0, 1)}
        weight = np.array([
            WEIGHT.get(data.source[i], 1.0) / (2 * total[data.y[i]] * per[data.y[i], data.source[i]])
            for i in at
        ])  # fmt: skip
        bad = {data.pair[i]: i for i in at if data.pair[i] >= 0 and data.y[i]}
        good = {data.pair[i]: i for i in at if data.pair[i] >= 0 and not data.y[i]}
        both = sorted(bad.keys() & good.keys())
        x, width = data.x[at], data.x.shape[1]
        step = data.x[[bad[p] for p in both]] - data.x[[good[p] for p in both]]
        part = np.array([WEIGHT.get(data.source[bad[p]], 1.0) for p in both])
        part = part / part.sum() if both else part
        xt, stept = x.T.tocsr(), step.T.tocsr()

        def loss(z: np.ndarray) -> tuple[float, np.ndarray]:
            v, bias = z[:width], z[width]
            m, order = sign * (x @ v + bias), step @ v
            g = -weight * sign / (1 + np.exp(np.clip(m, -50, 50)))
            h = -PAIRS * part / (1 + np.exp(np.clip(order, -50, 50)))
            value = (weight * np.logaddexp(0, -m)).sum() + PAIRS * (part * np.logaddexp(0, -order)).sum()
            return value + 0.5 * v @ v / SOFTNESS, np.r_[xt @ g + stept @ h + v / SOFTNESS, g.sum()]

        done = minimize(
            loss, np.zeros(width + 1), jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS}
        )
        self.v, self.bias = done.x[:width], float(done.x[width])

    def margins(self, mask: np.ndarray) -> np.ndarray:
        return self.data.x[np.where(mask)[0]] @ self.v + self.bias

    def stored(self, sharpness: float, middle: float) -> dict[str, object]:
        """As the product reads it. score = logistic(sharpness x (margin - middle))."""
        n, size, v = len(self.data.words), self.data.size, self.v * sharpness
        top = float(np.abs(v[:n]).max())
        words = {w: round(SCALE * float(v[i]) / top) for w, i in self.data.words.items()}
        return {
            "classes": self.data.table,
            "words": {w: x for w, x in words.items() if x},
            "word_scale": top,
            "class_weights": [round(float(x), 4) for x in v[n : n + size]],
            "pair_weights": [
                list(self.data.pairs), [round(float(x), 4) for x in v[n + size :]],
            ],
            "bias": (self.bias - middle) * sharpness,
        }  # fmt: skip


@dataclass(frozen=True)
class Worth:
    """How well harmful and harmless are told apart."""

    auc: float
    fpr: float  # at a TPR of 0.9
    tpr: float  # at an FPR of 0.03


def worth(bad: np.ndarray, good: np.ndarray) -> Worth:
    both = np.r_[bad, good]
    _, inverse, counts = np.unique(both, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    auc = (rank[: len(bad)].sum() - len(bad) * (len(bad) + 1) / 2) / (len(bad) * len(good))
    fpr = float(np.mean(good >= np.quantile(bad, 0.1)))
    return Worth(float(auc), fpr, float(np.mean(bad > np.quantile(good, 0.97))))


def say(name: str, bad: np.ndarray, good: np.ndarray) -> Worth:
    w = worth(bad, good)
    print(f"{name:<64} AUC {w.auc:.3f}  FPR at TPR .9 {w.fpr:.3f}  TPR at FPR .03 {w.tpr:.3f}", flush=True)
    return w


def operating(data: Data) -> tuple[float, float]:
    """(sharpness, middle): half of a percent of harmless rows, each scored by a model that has not seen its
    source or group, stands above 0.85, and the middle of them at 0.02."""
    margins = []
    folds = [data.of(*COMMITS), data.of("harmless", "everyday")]
    for mask in folds:
        margins.append(Model(data, ~mask).margins(mask & (data.y == 0)))
    high = float(np.mean([np.quantile(m, 0.97) for m in margins]))
    low = float(np.mean([np.quantile(m, 0.5) for m in margins]))
    sharpness = (np.log(0.85 / 0.15) - np.log(0.02 / 0.98)) / (high - low)
    return sharpness, high - np.log(0.85 / 0.15) / sharpness


def evaluate(data: Data, full: Model) -> None:
    print("-- leave sources out: neither side was in training")
    found = []
    for positive in ("cysecbench", "purple_interpreter"):
        for negative in (COMMITS, CROWD, ADVISORIES):
            model = Model(data, ~data.of(positive, *negative))
            name = f"without {positive} and {negative[0]}.."
            found.append(say(name, model.margins(data.of(positive)), model.margins(data.of(*negative))))
        print(end="", flush=True)
    mean = np.mean([(w.auc, w.fpr, w.tpr) for w in found], axis=0)
    print(f"mean of the six folds: AUC {mean[0]:.3f}  FPR {mean[1]:.3f}  TPR at FPR .03 {mean[2]:.3f}")
    print("-- our pairs: groups that training has not seen")
    groups = sorted({g for g in data.group if g})
    found, wins = [], []
    for fold in range(3):
        held = np.isin(data.group, groups[fold::3]) & data.of(*OWN)
        model = Model(data, ~held)
        bad, good = (model.margins(held & data.of("direct") & (data.y == y)) for y in (1, 0))
        found.append(worth(bad, good))
        wins.append(float(np.mean(bad > good)))
    mean = np.mean([(w.auc, w.fpr, w.tpr) for w in found], axis=0)
    print(
        f"pairs: AUC {mean[0]:.3f}  FPR {mean[1]:.3f}; the harmful twin scores higher in {np.mean(wins):.3f}"
    )
    print("-- as shipped, on sources that are never trained on")
    bad = full.margins(data.of("rmcbench"))
    for sources in ((s,) for s in UNSEEN):
        say(f"rmcbench against {sources[0]}", bad, full.margins(data.of(*sources)))
    say("rmcbench against the three together", bad, full.margins(data.of(*UNSEEN)))


def rates(data: Data, full: Model, sharpness: float, middle: float) -> None:
    for s in ("codealpaca", "alpaca_general", "cybermetric", "rmcbench"):
        p = 1 / (1 + np.exp(-sharpness * (full.margins(data.of(s)) - middle)))
        print(
            f"{s}, unseen: share above .5/.8/.85/.9: "
            + " ".join(f"{np.mean(p >= t):.3f}" for t in (0.5, 0.8, 0.85, 0.9))
        )
    without = Model(data, ~data.of("hand_fp_a"))
    p = 1 / (1 + np.exp(-sharpness * (without.margins(data.of("hand_fp_a")) - middle)))
    print(f"hand_fp_a, left out: share above .5/.85: {np.mean(p >= 0.5):.3f} {np.mean(p >= 0.85):.3f}")


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("data")
    ap.add_argument("--write")
    ap.add_argument("--no-report", action="store_true")
    args = ap.parse_args()
    data = Data(load(args.data))
    print(f"{len(data.rows)} rows, {data.x.shape[1]} features", flush=True)
    full = Model(data, np.ones(len(data.rows), bool))
    sharpness, middle = operating(data)
    if args.write:
        value = full.stored(sharpness, middle)
        packed = gzip.compress(json.dumps(value, separators=(",", ":"), sort_keys=True).encode(), 9, mtime=0)
        Path(args.write).write_bytes(packed)
        print(f"{len(packed)} bytes", flush=True)
    if not args.no_report:
        rates(data, full, sharpness, middle)
        evaluate(data, full)


if __name__ == "__main__":
    main()
