import json
import subprocess
import sys

code = """import json, sys
sys.path.insert(0, '/app')
from notes.book import Notebook
a, b = Notebook('a'), Notebook('b')
a.add('x'); a.add('y')
given = ['p']
c = Notebook('c', given)
print(json.dumps([a.notes, list(b.notes), b.add('z'), a.last(1), c.last(5)]))
"""
done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
assert json.loads(done.stdout) == [["x", "y"], [], 1, ["y"], ["p"]], done.stdout + done.stderr
tests = "import unittest,sys\nsys.path.insert(0,'/app')\nunittest.main(module=None, argv=['x','discover','-s','/app/tests'])"
done = subprocess.run([sys.executable, "-I", "-c", tests], capture_output=True, text=True, cwd="/app")
assert "Ran 3 tests" in done.stderr and "OK" in done.stderr, done.stderr
