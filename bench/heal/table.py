"""The matrix of faults and supervisors, side by side, and where we stand beside the targets.

    python bench/heal/table.py [RESULTS.json ...]     default: every results-*.json beside this file

Cell: second of the last unhealthy look, or fix+seconds after the outside cause went, or NEVER; rN: starts
of the target; bN: starts of the bystander; %: answered within a second. A later file wins a cell.
"""

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
NAMES = {
    "veilig": "veilig", "veilig+": "veilig, granted", "veilig-sup": "veilig on supervisord",
    "veilig-pod": "veilig on podman", "none": "nobody", "supervisord": "supervisord",
    "supervisord5": "startsecs=5", "superlance": "+ superlance", "monit": "Monit", "podman": "podman kill",
    "autoheal": "autoheal loop", "systemd": "systemd user",
}  # fmt: skip
TARGETS = {  # seconds (after the fix, where the cause lies outside), starts
    "crash_once": (3, 1), "hang_sigstop": (8, 1), "deadlock": (8, 1), "memory_leak": (11, 1),
    "crash_loop_config": (3, 2), "port_conflict": (3, 2), "dep_down_exit": (3, 2), "dep_down_503": (3, 1),
}  # fmt: skip


def cell(row: dict[str, Any] | None) -> str:
    """One run in a few characters."""
    if row is None:
        return "."
    if "error" in row:
        return "ERR"
    if not row["detected_bad"]:
        text = "not seen"
    elif not row["end_ok"]:
        text = "NEVER"
    elif row["fixed_at"]:
        text = f"fix+{max(0.0, row['recovered_at'] - row['fixed_at']):.1f}"
    else:
        text = f"{row['recovered_at']:.0f} s"
    text += f" r{row['restarts']}" + (f" b{row['bystander_restarts']}" if row["bystander_restarts"] else "")
    return text + (f" {100 * row['req_ok'] // row['req_n']} %" if row.get("req_n") else "")


def missed(row: dict[str, Any]) -> str:
    """In what a run of ours falls short of the target; "" when in nothing."""
    seconds, starts = TARGETS[row["fault"]]
    said: list[str] = []
    if not row["end_ok"]:
        said.append("never well")
    elif (took := (row["recovered_at"] or 0) - (row["fixed_at"] or 0)) > seconds:
        said.append(f"{took:.1f} s, not {seconds}")
    if row["restarts"] > starts:
        said.append(f"{row['restarts']} starts, not {starts}")
    if (before := row.get("restarts_before_fix") or 0) > 1:
        said.append(f"{before} starts before the fix, not 1")
    return "; ".join(said)


def main() -> None:
    """Print the matrix, sums, and each target that was missed."""
    places = [Path(word) for word in sys.argv[1:]] or sorted(HERE.glob("results-*.json"))
    rows = [row for place in places for row in json.loads(place.read_text())]
    found = {(row["fault"], row["sup"]): row for row in rows}
    faults = list(dict.fromkeys(row["fault"] for row in rows))
    names = [name for name in NAMES if any(sup == name for _, sup in found)]
    print("| " + " | ".join(["fault", *(NAMES[name] for name in names)]) + " |")
    print("|---" * (len(names) + 1) + "|")
    for fault in faults:
        print("| " + " | ".join([fault, *(cell(found.get((fault, name))) for name in names)]) + " |")
    for said, key in (("starts, all faults", "restarts"), ("seconds unhealthy", "unhealthy_s")):
        sums = [sum(found[f, n].get(key) or 0 for f in faults if (f, n) in found) for n in names]
        print("| " + " | ".join([said, *(f"{one:.0f}" for one in sums)]) + " |")
    ours = [row for (fault, name), row in found.items() if name.startswith("veilig") and fault in TARGETS]
    for row in ours:
        if said := missed(row):
            print(f"missed: {row['sup']}, {row['fault']}: {said}")
    print(f"{len(ours)} cells of ours with a target, {sum(not missed(row) for row in ours)} meet it")


if __name__ == "__main__":
    main()
