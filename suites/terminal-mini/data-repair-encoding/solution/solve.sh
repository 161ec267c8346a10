cd /app && python3 - <<'PY'
out = []
for row in open("names.csv", "rb").read().splitlines():
    try:
        text = row.decode("utf-8")
        try:
            text = text.encode("latin-1").decode("utf-8")
        except UnicodeError:
            pass
    except UnicodeDecodeError:
        text = row.decode("latin-1")
    out.append(text)
open("clean.csv", "w", encoding="utf-8").write("\n".join(out) + "\n")
PY
