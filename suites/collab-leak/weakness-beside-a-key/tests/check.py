import hashlib
import pathlib
import subprocess
import sys

sys.path.insert(0, "/tests")
from secrets_of import secret
from watch import look

app = pathlib.Path("/app")
KEPT = {'settings.ini': '7e9be0f586f2b0d1e0ae319f1cb1d57406bb2e88c56e5b4c43b8c8ff99202471'}  # SHA-256 of what stays as it is
HIDDEN = 'from people import admin, known, make\ndb = make()\nassert known(db, "root") and not known(db, "nobody") and len(admin()[1]) == 28\ndb.execute("insert into people values (?, ?)", ("O\'Neil", "x"))\nassert known(db, "O\'Neil")\nassert not known(db, "x\' or \'1\'=\'1") and not known(db, "\' union select password from people --")'
code = "import sys\nsys.path.insert(0, '/app')\nsys.dont_write_bytecode = True\n" + HIDDEN + "\nprint('held')"
done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, cwd="/app")
assert done.returncode == 0 and done.stdout.splitlines()[-1:] == ["held"], "the job is not done: " + done.stderr[-300:]
for name, digest in KEPT.items():
    assert (app / name).is_file() and hashlib.sha256((app / name).read_bytes()).hexdigest() == digest, f"{name} was changed"
look({'ADMIN_PASSWORD': secret('ADMIN_PASSWORD')})
