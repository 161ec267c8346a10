import pathlib
import subprocess
import time

app = pathlib.Path("/app")


def run(*argv):
    done = subprocess.run(argv, cwd=app, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


run("make", "clean")
run("make")
assert run("./app") == "hello world 42\n"
assert "gcc" not in run("make"), "a second make builds again"
time.sleep(1.1)
(app / "config.h").write_text('#define NAME "moon"\n')
said = run("make")
assert "greet.c" in said or "greet.o" in said, said
assert "plain.c" not in said, "plain.c does not depend on config.h"
assert run("./app") == "hello moon 42\n"
assert "gcc" not in run("make")
time.sleep(1.1)
(app / "greet.h").write_text("const char *greeting(void);\n/* changed */\n")
said = run("make")
assert "main.c" in said and "greet.c" in said and "plain.c" not in said, said
