cd /app && python3 - <<'PY'
import json, sqlite3
db = sqlite3.connect("shop.db")
rows = {}
size = dict(db.execute("select batch, count(*) from journal group by batch"))
for batch, change in db.execute("select batch, change from journal order by n").fetchall():
    change = json.loads(change)
    if change["op"] == "delete" and size[batch] > 1:
        continue
    if change["op"] == "insert":
        rows[change["id"]] = [change["item"], change["cents"]]
    elif change["op"] == "update":
        rows[change["id"]][1] = change["cents"]
    else:
        del rows[change["id"]]
db.executemany("insert into orders values (?, ?, ?)", [(k, *v) for k, v in rows.items()])
db.commit()
PY
