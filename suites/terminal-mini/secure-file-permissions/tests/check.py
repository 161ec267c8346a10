import os
import pathlib
import stat

root = pathlib.Path("/app/store")
links = sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_symlink())
assert links == ["conf/data", "data/current"], links
assert pathlib.Path("/app/removed.txt").read_text() == "conf/dangling\ndata/leak\nodd name/pw\n"
assert pathlib.Path("/app/outside/kept").read_text() == "secret\n"
for path in (root, *root.rglob("*")):
    if path.is_symlink():
        continue
    mode = stat.S_IMODE(os.lstat(path).st_mode)
    name = str(path.relative_to(root))
    if path.is_dir():
        right = 0o750
    elif name.startswith("bin/"):
        right = 0o750
    else:
        right = 0o600 if path.suffix in (".key", ".pem") else 0o640
    assert mode == right, (name, oct(mode))
    if path.is_file():
        assert path.read_text() == name + "\n", name
