"""Do two agents in two worktrees of one repository work at once, each on its own files and branch?"""

import subprocess
from pathlib import Path

from replay_server import Answer, Request, call, replay
from running import CART, done
from terminal import Terminal


def git(folder: Path, *words: str) -> str:
    """Run git as somebody with a name."""
    named = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ("git", *named, *words), cwd=folder, capture_output=True, text=True, check=True
    ).stdout


def test_two_agents_in_two_worktrees_of_one_repository_work_at_once(veilig: Terminal, shop: Path) -> None:
    git(shop, "init", "-q", "-b", "main")
    git(shop, "add", ".")
    git(shop, "commit", "-q", "-m", "shop")
    other = veilig.folder / "other"
    git(shop, "worktree", "add", "-q", str(other), "-b", "second")
    heads = git(shop, "rev-parse", "main", "second")

    def script(request: Request) -> Answer:
        mine = "mend-a" if "task a" in str(request.body) else "mend-b"
        steps = [
            call("shell", command=f"echo {mine} > mine.txt; sleep 0.5; cat mine.txt"),
            call("edit", path="cart.py", old="items[1:]", new=f"items  # {mine}"),
        ]
        return steps[len(request.results)] if len(request.results) < 2 else done(mine)

    with replay(script) as server:
        ask = ["--model", "m", "--model-url", server.url, "--no-verify"]
        both = [
            subprocess.Popen(
                veilig.argv("run", task, name, *ask, "--branch", branch),
                cwd=veilig.folder,
                env=veilig.environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for task, name, branch in (("task a", "shop", "mend-a"), ("task b", "other", "mend-b"))
        ]
        said = [process.communicate(timeout=120)[0] for process in both]
        overlap = [("task a" in str(r.body)) for r in server.requests]
    assert [process.returncode for process in both] == [0, 0], said
    assert overlap != sorted(overlap), "they did work at the same time"
    assert overlap != sorted(overlap, reverse=True), "they did work at the same time"
    for branch in ("mend-a", "mend-b"):
        assert git(shop, "show", f"{branch}:mine.txt") == f"{branch}\n"
        assert f"# {branch}" in git(shop, "show", f"{branch}:cart.py")
    assert git(shop, "rev-parse", "main", "second") == heads, "nobody's branch moved"
    for folder in (shop, other):
        assert (folder / "cart.py").read_text() == CART
        assert git(folder, "status", "--porcelain") == ""
    assert veilig("ledger", "verify").code == 0
    assert len(veilig("sessions", "--json").json) == 2
