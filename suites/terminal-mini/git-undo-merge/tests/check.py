import os
import subprocess


def git(*words):
    return subprocess.run(
        ["git", "-c", "safe.directory=*", "-C", "/app", *words], capture_output=True, text=True, check=True
    ).stdout.strip()


tip = open("/app/.git/tip").read().strip()
assert git("rev-parse", "main^") == tip, "history was rewritten, or there is more than one new commit"
assert git("show", "main:list.txt") == "a\nb\nc"
assert git("show", "main:version") == "3" and git("show", "main:other.txt") == "more"
names = git("ls-tree", "--name-only", "main").split()
assert sorted(names) == ["list.txt", "other.txt", "version"], names
assert git("status", "--porcelain") == "" and not os.path.exists("/app/feature.txt")
