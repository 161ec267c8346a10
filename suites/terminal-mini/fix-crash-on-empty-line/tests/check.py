import subprocess
import sys
import tempfile


def run(text):
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(text)
        file.flush()
        done = subprocess.run([sys.executable, "-I", "/app/billing.py", file.name], capture_output=True, text=True)
        return done.returncode, done.stdout


whole = open("/app/march.txt").read()
assert run(whole) == (0, "acme 940.00\nglobex 285.00\nhooli 60.00\n"), run(whole)
assert run("b 1 1\na 2 0.5\n") == (0, "a 1.00\nb 1.00\n")
assert run("\n\n#x\n") == (0, "")
assert run("only two\n")[0] != 0
