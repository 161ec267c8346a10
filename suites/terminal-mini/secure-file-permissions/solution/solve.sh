cd /app && python3 - <<'PY'
import os, pathlib
root = pathlib.Path("/app/store").resolve()
gone = []
for folder, names, files in os.walk(root):
    for name in [*names, *files]:
        path = pathlib.Path(folder, name)
        if path.is_symlink():
            if not path.resolve().is_relative_to(root):
                gone.append(str(path.relative_to(root)))
                path.unlink()
            continue
        inside = path.relative_to(root)
        if path.is_dir():
            path.chmod(0o750)
        elif inside.parts[0] == "bin":
            path.chmod(0o750)
        else:
            path.chmod(0o600 if path.suffix in (".key", ".pem") else 0o640)
root.chmod(0o750)
pathlib.Path("/app/removed.txt").write_text("".join(f"{name}\n" for name in sorted(gone)))
PY
