import subprocess


def git(*words):
    return subprocess.run(
        ["git", "-c", "safe.directory=*", "-C", "/app", *words], capture_output=True, text=True, check=True
    ).stdout.strip()


assert git("log", "-1", "--format=%s", "rescued") == "Add the tax table"
assert git("show", "rescued:tax") == "21 9 0"
assert git("log", "-1", "--format=%s", "main") == "Next"
