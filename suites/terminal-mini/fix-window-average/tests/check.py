import json
import random
import subprocess
import sys

dice = random.Random(11)
cases = [([dice.randint(0, 9) for _ in range(dice.randint(0, 7))], dice.randint(1, 4)) for _ in range(40)]
code = "import json,sys\nsys.path.insert(0,'/app')\nfrom stats.window import averages, spikes\n" \
       "cases=json.load(sys.stdin)\nprint(json.dumps([[averages(v,s), spikes(v,s,2)] for v,s in cases]))"
done = subprocess.run([sys.executable, "-I", "-c", code], input=json.dumps(cases), capture_output=True, text=True)
found = json.loads(done.stdout)
for (values, size), (means, peaks) in zip(cases, found, strict=True):
    right = [sum(values[i : i + size]) / size for i in range(len(values) - size + 1)]
    assert means == right, (values, size, means)
    high = [i + size for i, m in enumerate(right) if i + size < len(values) and values[i + size] > 2 * m]
    assert peaks == high, (values, size, peaks)
assert "test_too_few_values" in open("/app/tests/test_window.py").read()
