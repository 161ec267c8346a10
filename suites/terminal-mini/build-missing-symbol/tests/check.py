import shutil
import subprocess
import tempfile

HIDDEN = """#include <assert.h>
#include "ring.h"
int main(void) { ring r; int v; ring_clear(&r);
 for (int k = 0; k < 9; k++) { assert(ring_put(&r, k) == 0); assert(ring_put(&r, k + 1) == 0);
  assert(ring_take(&r, &v) == 0 && v == k); assert(ring_take(&r, &v) == 0 && v == k + 1); }
 for (int i = 0; i < RING_SIZE; i++) assert(ring_put(&r, i) == 0);
 assert(ring_put(&r, 5) == -1 && ring_count(&r) == RING_SIZE); return 0; }
"""
with tempfile.TemporaryDirectory() as folder:
    shutil.copytree("/app", folder, dirs_exist_ok=True)
    done = subprocess.run(["make", "-B", "test"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0 and "ok" in done.stdout, done.stdout + done.stderr
    open(f"{folder}/hidden.c", "w").write(HIDDEN)
    subprocess.run(["gcc", "-o", "hidden", "hidden.c", "ring.c"], cwd=folder, check=True)
    subprocess.run(["./hidden"], cwd=folder, check=True)
assert open("/app/test.c").read().count("assert(") == 6
