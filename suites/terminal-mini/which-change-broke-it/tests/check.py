import subprocess


def git(*words):
    return subprocess.run(
        ["git", "-c", "safe.directory=*", "-C", "/app", *words], capture_output=True, text=True, check=True
    ).stdout.strip()


right = git("log", "--format=%H", "--grep=Speed up net", "main")
assert open("/app/culprit.txt").read().strip() == right
assert git("rev-list", "--count", "main") == "15"
assert not [row for row in git("status", "--porcelain").splitlines() if "culprit.txt" not in row and "__pycache__" not in row]
