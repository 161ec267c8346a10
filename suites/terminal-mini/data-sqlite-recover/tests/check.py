import json
import sqlite3

db = sqlite3.connect("/app/shop.db")
rows = {}
for batch, change in db.execute("select batch, change from journal where batch != 'b301' order by n"):
    change = json.loads(change)
    if change["op"] == "insert":
        rows[change["id"]] = (change["item"], change["cents"])
    elif change["op"] == "update":
        rows[change["id"]] = (rows[change["id"]][0], change["cents"])
    else:
        del rows[change["id"]]
found = {key: (item, cents) for key, item, cents in db.execute("select id, item, cents from orders")}
assert len(rows) > 100 and found == rows, (len(found), len(rows))
schema = dict(db.execute("select name, sql from sqlite_master where type='table'"))
assert schema["orders"] == "CREATE TABLE orders (id integer primary key, item text not null, cents integer not null)"
assert db.execute("select count(*) from journal where batch = 'b301'").fetchone()[0] == len(rows)
