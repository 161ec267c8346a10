import json
import subprocess
import sys


def git(*words):
    return subprocess.run(
        ["git", "-c", "safe.directory=*", "-C", "/app", *words], capture_output=True, text=True, check=True
    ).stdout.strip()


assert len(git("log", "-1", "--format=%P", "main").split()) == 2, "no merge commit"
assert git("log", "-1", "--format=%s", "main^2") == "Give discounts"
assert git("show", "main:regions.txt").split() == ["be", "de", "lu", "nl"]
code = "import json,sys\nsys.path.insert(0,'/app')\nfrom shop import price\n" \
       "print(json.dumps([price(10), price(9.99, 9), price(10, 21, 50), price(3.33, vat=6, discount=10)]))"
done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
assert json.loads(done.stdout) == [12.1, 10.89, 6.05, 3.18], done.stdout + done.stderr
assert "<<<<" not in git("show", "main:shop.py") and git("status", "--porcelain") == "" or "__pycache__" in git("status", "--porcelain")
