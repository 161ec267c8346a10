import json
import random
import sqlite3

dice = random.Random(5)
db = sqlite3.connect("shop.db")
db.execute("create table orders (id integer primary key, item text not null, cents integer not null)")
db.execute("create table journal (n integer primary key autoincrement, at text, batch text, change text)")
rows = {}


def log(i, batch, change):
    db.execute("insert into journal (at, batch, change) values (?, ?, ?)", (f"2026-03-01T10:{i // 60:02}:{i % 60:02}", batch, json.dumps(change)))


for i in range(300):
    act = dice.random()
    if act < 0.6 or not rows:
        key = i + 1
        rows[key] = (dice.choice(["tea", "mug", "pot"]), dice.randint(100, 9000))
        log(i, f"b{i}", {"op": "insert", "id": key, "item": rows[key][0], "cents": rows[key][1]})
    elif act < 0.85:
        key = dice.choice(sorted(rows))
        rows[key] = (rows[key][0], dice.randint(100, 9000))
        log(i, f"b{i}", {"op": "update", "id": key, "cents": rows[key][1]})
    else:
        key = dice.choice(sorted(rows))
        del rows[key]
        log(i, f"b{i}", {"op": "delete", "id": key})
for key in sorted(rows):
    log(301, "b301", {"op": "delete", "id": key})
db.commit()
