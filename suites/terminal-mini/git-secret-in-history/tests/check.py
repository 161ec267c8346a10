import subprocess


def git(*words):
    return subprocess.run(
        ["git", "-c", "safe.directory=*", "-C", "/app", *words], capture_output=True, text=True, check=True
    ).stdout.strip()


subjects = git("log", "--reverse", "--format=%s", "main").splitlines()
assert [s for s in subjects if s != "Remove the key"] == ["Begin", "Add b", "Add c", "Add d"], subjects
for commit in git("rev-list", "--all").split():
    assert "deploy.key" not in git("ls-tree", "-r", "--name-only", commit)
assert git("log", "-1", "--format=%s", "v1") == "Add c"
assert git("merge-base", "v1", "main") == git("rev-parse", "v1^{commit}")
assert sorted(git("ls-tree", "--name-only", "main").split()) == ["a", "b", "c", "d"]
assert sorted(git("ls-tree", "--name-only", "v1").split()) == ["a", "b", "c"]
held = git("cat-file", "--batch-all-objects", "--batch-check=%(objectname) %(objecttype)").splitlines()
for row in held:
    name, kind = row.split()
    if kind == "blob":
        assert "4711-0815" not in git("cat-file", "blob", name), "the key's content is still there"
