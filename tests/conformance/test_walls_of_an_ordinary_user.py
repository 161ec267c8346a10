"""Do the same walls hold for somebody who is not root? The suite again, as an unprivileged user."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
USER = 64321  # nobody's
# In a mount namespace of its own the interpreter is made reachable, should it lie in root's closed home
ENTER = f"""
set -e
python=$1; home=$2; shift 2
if [ -d /root ] && [ "${{python#/root/}}" != "$python" ]; then
    top=/root/$(echo "${{python#/root/}}" | cut -d/ -f1)
    hold=$(mktemp -d); mount --bind "$top" "$hold"
    mount -t tmpfs -o mode=755 none /root; mkdir "$top"; mount --move "$hold" "$top"; rmdir "$hold"
fi
exec setpriv --reuid={USER} --regid={USER} --clear-groups env -i HOME="$home" PATH=/usr/bin:/bin "$@"
"""


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="the whole suite runs as an ordinary user already")
def test_the_walls_hold_for_an_ordinary_user(area: Path) -> None:
    home = area / "home"
    home.mkdir()
    os.chown(home, USER, USER)
    python = sys.executable
    suite = [str(ROOT / "tests/conformance" / f"test_walls_{name}.py") for name in ("contain", "bound")]
    options = ["-q", "-p", "no:cacheprovider", "--basetemp", str(home / "tmp")]
    private = ["unshare", "--mount", "--propagation=private", "sh", "-c", ENTER, "sh"]
    done = subprocess.run(
        [*private, os.path.realpath(python), str(home), python, "-B", "-m", "pytest", *options, *suite],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
