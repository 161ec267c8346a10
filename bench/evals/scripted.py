"""A scripted model on a whole suite: do tasks, tools, gate, delivery and accounting hold together?

    python bench/evals/scripted.py SUITE [--out DIR] [--gives-up TASK] [--attempts K] [--jobs N]

A real HTTP server speaks a vendor's protocol; its model runs each task's own solution through the tool
`shell` and then says that it is done, so a score says nothing of any model. It says which tasks can be solved
at all by an agent that works in a copy and brings back files, and what a run costs in tokens. With --gives-up
one task is looked at and given up, to see that tokens of failed attempts are counted.
"""

import argparse
import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))

from replay_server import replay  # lives with the tests
from scripted_suite import model_of
from veilig.app import Setting
from veilig.evals.report import line, note_of
from veilig.evals.results import Trial, read_job
from veilig.evals.run import run_suite
from veilig.evals.runner import Terms
from veilig.evals.suite import find_suite
from veilig.evals.tally import tally


def seen(trial: Trial, done: int, of: int) -> None:
    why = "" if trial.ending == "resolved" else note_of(trial)[:90]
    print(f"{done:>4}/{of}  {trial.ending:<11}{trial.agent_s:>7.1f} s  {trial.task}  {why}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("suite")
    parser.add_argument("--task", action="append", default=[])
    parser.add_argument("--out")
    parser.add_argument("--gives-up", default="", metavar="TASK")
    parser.add_argument("--attempts", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    suite = find_suite(given.suite, given.task)
    out = Path(given.out or f"runs/{suite.name}-scripted").absolute()
    with replay(model_of(suite, given.gives_up)) as server:
        setting = Setting(model_url=server.url)
        trials = asyncio.run(
            run_suite(
                suite, "embedded", Terms(out), setting=setting, model="scripted",
                attempts=given.attempts, jobs=given.jobs, seen=seen,
            )
        )  # fmt: skip
    counted = tally(read_job(out), trials)
    print(line(counted))
    print(f"tokens out per resolved task, failed ones counted: {counted.tokens_per_resolved}")


if __name__ == "__main__":
    main()
