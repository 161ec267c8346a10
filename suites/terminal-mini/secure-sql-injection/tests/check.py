import json
import subprocess
import sys

code = """import json, sqlite3, sys
sys.path.insert(0, '/app')
from people import find, search
db = sqlite3.connect(':memory:')
db.execute('create table people (id integer primary key, name text)')
db.executemany('insert into people (name) values (?)', [('ann',), ("o'neil",), ('anna',), ('x%y',)])
out = []
for call in (lambda: find(db, 'ann'), lambda: find(db, "o'neil"), lambda: find(db, "x' OR '1'='1"),
             lambda: search(db, 'nn'), lambda: search(db, 'nn', 1), lambda: search(db, "' OR 1=1 --"),
             lambda: search(db, "'; drop table people; --"), lambda: find(db, 'ann')):
    try:
        out.append(call())
    except Exception as error:
        out.append(repr(error))
print(json.dumps(out))
"""
done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
assert json.loads(done.stdout) == [
    [[1, "ann"]], [[2, "o'neil"]], [], [[1, "ann"], [3, "anna"]], [[1, "ann"]], [], [], [[1, "ann"]],
], done.stdout + done.stderr
