import ast
import hashlib
import json
import subprocess
import sys
import tempfile

with tempfile.TemporaryDirectory() as folder:
    path = f"{folder}/a.json"
    old = hashlib.md5("höhle".encode()).hexdigest()
    json.dump({"old": old}, open(path, "w"))
    code = """import json, sys
sys.path.insert(0, '/app')
import accounts
path = sys.argv[1]
out = []
accounts.register(path, 'ann', 'pass1'); accounts.register(path, 'bo', 'pass1')
first = json.load(open(path))
out += [accounts.sign_in(path, 'ann', 'pass1'), accounts.sign_in(path, 'ann', 'pass2'), accounts.sign_in(path, 'no', 'x')]
out += [accounts.sign_in(path, 'old', 'wrong')]
middle = json.load(open(path))
out += [accounts.sign_in(path, 'old', 'höhle')]
last = json.load(open(path))
out += [accounts.sign_in(path, 'old', 'höhle'), accounts.sign_in(path, 'old', 'wrong'), accounts.sign_in(path, 'old', last['old'] if isinstance(last['old'], str) else 'x')]
try:
    accounts.register(path, 'ann', 'x')
    out.append('registered twice')
except ValueError:
    out.append('taken')
print(json.dumps([out, first, middle, last]))
"""
    done = subprocess.run([sys.executable, "-I", "-c", code, path], capture_output=True, text=True)
    out, first, middle, last = json.loads(done.stdout) if done.stdout else [done.stderr] * 4
assert out == [True, False, False, False, True, True, False, False, "taken"], out
assert first["ann"] != first["bo"], "no salt"
assert middle["old"] == old and last["old"] != old, "the old form was not replaced at the right moment"
assert hashlib.md5(b"pass1").hexdigest() not in json.dumps(first)
source = open("/app/accounts.py").read()
assert "compare_digest" in source
calls = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call) and getattr(n.func, "attr", "") in ("scrypt", "pbkdf2_hmac")]
assert calls, "no key derivation"
