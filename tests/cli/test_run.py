"""`veilig run` with a scripted model on a real server: how it works, what it is told, what is checked."""

import json
from pathlib import Path

import pytest

from replay_server import Answer, Call, Request, call, cut, fail, overflow, refuse, replay
from running import CART, done, result, run, session_of
from terminal import Terminal


def test_a_debugging_loop_ends_in_a_proven_change_that_waits_to_be_taken(
    veilig: Terminal, shop: Path
) -> None:
    script = [
        call("shell", command="python -m pytest -q"),
        call("read", path="cart.py"),
        call("edit", path="cart.py", old="items[1:]", new="items"),
        call("shell", command="python -m pytest -q"),
        done("The first item was left out."),
    ]
    with replay(script) as server:
        said = run(veilig, server, "make the test pass")
        assert said.code == 0, said.out + said.err
        assert "1 tests pass" in said.out
        assert "the audit of the changed lines is clean" in said.out
        told = [text for request in server.requests for _, text in request.results]
    assert any("1 failed" in text for text in told)
    assert any("1\tdef total(items):" in text for text in told)
    assert any("1 passed" in text for text in told)
    assert (shop / "cart.py").read_text() == CART, "the user's own file changes only when the user says so"
    session = session_of(said)
    assert veilig("resume", session, "--diff").out.startswith("diff --git a/cart.py")
    taken = veilig("resume", session, "--apply")
    assert taken.code == 0, taken.out + taken.err
    assert (shop / "cart.py").read_text() == CART.replace("items[1:]", "items")


def test_a_refactoring_over_several_files_arrives_as_one_patch(veilig: Terminal, shop: Path) -> None:
    patch = """*** Begin Patch
*** Update File: cart.py
@@
-def total(items):
-    return sum(i.price for i in items[1:])
+def price_of(items):
+    return sum(i.price for i in items)
*** Update File: tests/test_cart.py
@@
-from cart import total
+from cart import price_of
@@
-    assert total([S(price=2), S(price=3)]) == 5
+    assert price_of([S(price=2), S(price=3)]) == 5
*** Add File: docs/cart.md
+# Cart
*** Delete File: conftest.py
*** End Patch"""
    with replay([call("apply_patch", patch=patch), done()]) as server:
        said = run(veilig, server, "rename total to price_of", "--apply")
    assert said.code == 0, said.out
    assert "def price_of" in (shop / "cart.py").read_text()
    assert "import price_of" in (shop / "tests/test_cart.py").read_text()
    assert (shop / "docs/cart.md").read_text() == "# Cart\n"
    assert not (shop / "conftest.py").exists()
    assert "the change touches tests: conftest.py, tests/test_cart.py" in said.out


def test_a_claim_that_does_not_hold_goes_back_to_the_model(veilig: Terminal, shop: Path) -> None:
    script = [
        call("edit", path="cart.py", old="items[1:]", new="items[2:]"),
        done("fixed"),
        call("edit", path="cart.py", old="items[2:]", new="items"),
        done("fixed now"),
    ]
    with replay(script) as server:
        said = run(veilig, server, "fix it", "--json", "--check", "python -c 'import cart'")
        back = server.requests[2].results[-1][1]
    assert "Not accepted yet" in back
    assert "test_total fails as it did before you began" in back
    assert said.code == 0
    assert result(said)["proof"][0] == "1 tests pass"


def test_a_change_that_could_not_be_checked_is_never_brought_back(veilig: Terminal, shop: Path) -> None:
    bounds = veilig.folder / "bounds.yaml"
    bounds.write_text("models: {allowed: [scripted]}\nagent: {tests: deny, apply: allow}\n")
    script = [call("edit", path="cart.py", old="items[1:]", new="items"), done("fixed")]
    with replay(script) as server:
        said = run(veilig, server, "fix it", "--json", "--apply", "--policy", str(bounds))
    told = result(said)
    assert said.code == 1
    assert (told.get("applied", ""), len(told["missed"])) == ("", 1), told
    assert "nothing was brought back" in told["wrong"][0]
    assert (shop / "cart.py").read_text() == CART
    with replay(script) as server:  # a change that stays in its copy may be looked at by a person
        said = run(veilig, server, "fix it", "--policy", str(bounds))
    assert said.code == 3, said.out
    assert "missed" in said.out


def test_a_test_that_always_failed_is_named_and_is_nobodys_fault(veilig: Terminal, shop: Path) -> None:
    script = [
        call("edit", path="README.md", old="", new="# Shop\n"),
        done(),
        done("the test is not part of it"),
    ]
    with replay(script) as server:
        said = run(veilig, server, "write a readme", "--apply")
    assert said.code == 0, said.out
    assert "failed before as well: tests/test_cart.py::test_total" in said.out
    assert (shop / "README.md").exists()


def test_what_a_change_breaks_is_named_and_never_brought_back(veilig: Terminal, shop: Path) -> None:
    (shop / "cart.py").write_text(CART.replace("items[1:]", "items"))
    with replay(lambda request: done("all fine") if request.results else call(
        "shell", command="sed -i 's/items)$/items[:0])/' cart.py"
    )) as server:  # fmt: skip
        said = run(veilig, server, "speed it up", "--apply")
        told = [text for request in server.requests for _, text in request.results]
    assert said.code == 1
    assert sum("Not accepted yet" in text and "test_total" in text for text in told) >= 2
    assert "test_total" in said.out
    assert "items)" in (shop / "cart.py").read_text()
    session = session_of(said)
    refused = veilig("resume", session, "--apply")
    assert refused.code == 4
    assert "not proven" in refused.err


def test_a_new_weakness_is_sent_back(veilig: Terminal, shop: Path) -> None:
    weak = (
        "import os\nfrom flask import request\n\n\ndef ping():\n    os.system('ping ' + request.args['h'])\n"
    )
    with replay(
        [call("edit", path="net.py", old="", new=weak), done(), call("finish", summary="no", done=False)]
    ) as s:
        said = run(veilig, s, "add a ping")
        assert "CWE-78" in s.requests[2].results[-1][1] or "command" in s.requests[2].results[-1][1]
    assert said.code == 1


def test_calls_that_are_wrong_are_answered_and_the_work_goes_on(veilig: Terminal, shop: Path) -> None:
    pwd = {"command": "pwd"}
    broken = Answer(calls=(Call("edit", '{"path": "cart.py", "old": '),))
    script = [
        broken,
        call("no_such_tool", x=1),
        call("edit", path="cart.py"),
        call("edit", path="cart.py", old="not there", new="x"),
        call("read", path="../../etc/passwd"),
        call("read", path="missing.py"),
        call("shell", command="exit 7"),
        call("edit", path="veilig.yaml", old="", new="mode: act\n"),
        Answer(calls=(Call("read", {"path": "cart.py"}), Call("read", {"path": "."}), Call("shell", pwd))),
        done(),
    ]  # fmt: skip
    with replay(script) as server:
        said = run(veilig, server, "try things")
        told = [request.results[-1][1] for request in server.requests[1:9]]
        three = server.requests[9].results[-3:]
    assert said.code == 0, said.out
    assert "no JSON" in told[0]
    assert "there is no tool 'no_such_tool'" in told[1]
    assert "needs old, new" in told[2]
    assert "does not stand there exactly" in told[3]
    assert "error" in told[4]
    assert "no such file" in told[5]
    assert told[6].startswith("[exit 7]")
    assert told[7].startswith("error")
    assert not (shop / "veilig.yaml").exists()
    assert [len(text) > 0 for _, text in three] == [True] * 3


@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        ([fail(429, "slow down", retry_after=0.1)], 0),
        ([fail(500), fail(503)], 0),
        ([cut("thinking")], 0),
        ([refuse()], 1),
        ([fail(401, "bad key")], 4),
    ],
    ids=["429", "500", "cut", "refusal", "401"],
)
def test_trouble_with_the_server_is_survived_or_said(
    veilig: Terminal, shop: Path, trouble: list[Answer], code: int
) -> None:
    with replay([*trouble, call("finish", summary="nothing to do")]) as server:
        said = run(veilig, server, "do nothing")
    assert said.code == code, said.out + said.err
    if code == 1:
        assert "refused" in said.out


def test_what_overflows_the_window_is_shortened_and_goes_on(veilig: Terminal, shop: Path) -> None:
    script = [*(call("shell", command=f"seq {n} {n + 500}") for n in range(4)), overflow(), done()]
    with replay(script) as server:
        said = run(veilig, server, "count")
        last = server.requests[-1]
    assert said.code == 0, said.out
    assert "older messages were dropped" in json.dumps(last.body)


@pytest.mark.slow
def test_three_hundred_turns_fit_a_small_window_and_nothing_is_done_twice(
    veilig: Terminal, shop: Path
) -> None:
    """A model that works through a list, and knows how far it came only from what it is shown."""

    def next_one(request: Request) -> Answer:
        seen = json.dumps(request.body)
        made = [n for n in range(300) if f"item {n:03d} done" in seen]
        following = made[-1] + 1 if made else 0
        if following >= 300:
            return done("all 300")
        return call("shell", command=f"echo {following:03d} >> list.txt; echo item {following:03d} done")

    with replay(next_one) as server:
        said = run(veilig, server, "write 300 lines", "--window", "6000", "--no-verify", "--json")
        largest = max(len(json.dumps(request.body)) for request in server.requests)
    found = result(said)
    assert said.code == 0, said.out[-2000:]
    assert found["compacted"] >= 5
    assert largest < 6000 * 5
    added = [
        line[1:] for line in found["diff"].splitlines() if line.startswith("+") and not line.startswith("+++")
    ]
    assert added == [f"{n:03d}" for n in range(300)]


def test_a_result_has_the_form_that_was_asked_for(veilig: Terminal, shop: Path) -> None:
    schema = veilig.folder / "form.json"
    schema.write_text(
        '{"type": "object", "required": ["count"], "properties": {"count": {"type": "integer"}}}'
    )
    script = [
        call("finish", summary="counted", result={"count": "three"}),
        call("finish", summary="counted", result={"count": 3}),
    ]
    with replay(script) as server:
        said = run(veilig, server, "count the files", "--output-schema", str(schema), "--json")
        assert "integer" in server.requests[1].results[-1][1]
    assert result(said)["result"] == {"count": 3}


def test_without_a_model_run_says_what_needs_one_and_does_the_rest(veilig: Terminal, shop: Path) -> None:
    said = veilig("run", "add a login page", "shop", VEILIG_MODEL="", VEILIG_MODEL_URL="")
    assert said.code == 2
    assert "needs a model" in said.err
    said = veilig("run", "make the failing test pass", "shop", VEILIG_MODEL="", VEILIG_MODEL_URL="")
    assert "embedded planner" in said.err
    assert "fixed" in said.out


def test_background_jobs_live_between_commands_and_take_input(veilig: Terminal, shop: Path) -> None:
    script = [
        call("shell", command="while read line; do echo got $line; done", background="echo"),
        call("job", name="echo", input="hello\n"),
        call("job", name="echo", stop=True),
        done(),
    ]
    with replay(script) as server:
        said = run(veilig, server, "talk")
        told = [request.results[-1][1] for request in server.requests[1:]]
    assert said.code == 0, said.out
    assert "got hello" in told[1]
    assert "[runs]" in told[1]
    assert "[runs]" not in told[2]


def test_a_long_output_is_cut_and_can_be_read_on(veilig: Terminal, shop: Path) -> None:
    def script(request: Request) -> Answer:
        if not request.results:
            return call("shell", command="seq 1 5000")
        text = request.results[-1][1]
        if len(request.results) == 1:
            ref = text.split('read path "')[1].split('"')[0]
            return call("read", path=ref, start=2500, lines=3)
        return done()

    with replay(script) as server:
        run(veilig, server, "count")
        told = server.requests[2].results[-1][1]
    assert "2500\t2500\n2501\t2501\n2502\t2502" in told
