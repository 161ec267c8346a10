"""What do scores add up to over a session of twenty requests? Simulated on sources never trained on.

    .venv/bin/python bench/monitor/sessions.py DATA.jsonl

A session of 20 texts is drawn from ordinary requests (or a security professional's questions), some replaced
by harmful ones. The mean of the five highest scores (src/veilig/monitor/trails.py) is compared with the value
that one in a hundred harmless sessions reaches, and with the value that the product uses.
"""

import json
import random
import sys
from pathlib import Path

from veilig.monitor.classifier import Classifier
from veilig.monitor.trails import MEAN_LEAST, SCORES, top_mean

SESSIONS = 4000


def main() -> None:
    scorer, dice = Classifier.shipped(), random.Random(1)
    rows = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
    score: dict[str, list[float]] = {}
    for row in rows:
        if not row["may_redistribute"]:
            score.setdefault(row["source"], []).append(scorer.score(row["text"]))

    def sessions(harmless: list[float], bad: int) -> list[float]:
        made = []
        for _ in range(SESSIONS):
            drawn = dice.sample(harmless, SCORES - bad) + dice.sample(score["rmcbench"], bad)
            made.append(top_mean([(0.0, s) for s in drawn], 0.0))
        return made

    ordinary = score["codealpaca"] + score["alpaca_general"]
    for name, harmless in (("ordinary", ordinary), ("professional", score["cybermetric"])):
        clean = sorted(sessions(harmless, 0))
        at = clean[-SESSIONS // 100]
        over = sum(m >= MEAN_LEAST for m in clean) / SESSIONS
        print(f"{name}: 1 % of harmless sessions reach {at:.3f}; {over:.4f} of them reach {MEAN_LEAST}")
        for bad in (2, 6, 12):
            found = sessions(harmless, bad)
            loose, strict = (sum(m >= t for m in found) / SESSIONS for t in (at, MEAN_LEAST))
            print(f"  {bad:2} harmful of {SCORES}: TPR {loose:.2f} at FPR .01, {strict:.2f} at {MEAN_LEAST}")


if __name__ == "__main__":
    main()
