"""What becomes of a program that has more ways through it than one entry point may follow?"""

from veilig.audit.finding import Finding
from veilig.audit.scan import scan_sources


def audited(*files: tuple[str, str]) -> tuple[list[Finding], int]:
    report = scan_sources(dict(files))
    return list(report.findings), len(report.incomplete)


def wide_tree(levels: int) -> str:
    """Functions each of which calls the next one three times with other arguments."""
    lines = ["import os", "from flask import request", "", "def leaf(n, text):"]
    lines += [f"    step_{i} = n + {i}" for i in range(20)]
    lines += ["    return os.system(text)", ""]
    below = "leaf"
    for level in range(levels):
        lines += [f"def level_{level}(n, text):"]
        lines += [f"    {below}(n * {k}, text + '{k}')" for k in (2, 3, 5)]
        lines += [""]
        below = f"level_{level}"
    return "\n".join([*lines, "def view():", f"    {below}(1, request.args['x'])", ""])


def test_a_wide_tree_of_calls_is_followed_without_being_given_up():
    findings, incomplete = audited(("app.py", wide_tree(6)))
    assert incomplete == 0
    assert {f.cwe for f in findings} == {78}


def test_the_rest_of_a_function_is_seen_after_its_calls_used_up_the_budget():
    text = wide_tree(6) + "    eval(request.args['y'])\n"
    findings, incomplete = audited(("app.py", text))
    assert incomplete == 0
    assert {f.cwe for f in findings} == {78, 94}


def test_an_endless_body_is_said_to_be_incomplete():
    body = "\n".join("    " * (n + 1) + f"for a{n} in x:" for n in range(17))
    text = f"def f(x):\n{body}\n{'    ' * 18}print(x)\n"
    _, incomplete = audited(("app.py", text))
    assert incomplete == 1


def test_effects_on_an_object_are_remembered_with_the_answer():
    text = (
        "import os\nfrom flask import request\n\n"
        "class Box:\n    def put(self, value):\n        self.value = value\n        self.size = 1\n\n"
        "def fill(box, value):\n    box.put(value)\n\n"
        "def one():\n    a = Box()\n    fill(a, 'x')\n    b = Box()\n"
        "    fill(b, 'x')\n    os.system(b.value)\n\n"
        "def two():\n    a = Box()\n    fill(a, request.args['q'])\n    b = Box()\n"
        "    fill(b, request.args['q'])\n    os.system(b.value)\n"
    )
    findings, _ = audited(("app.py", text))
    assert [(f.cwe, f.line) for f in findings] == [(78, 24)]


def test_one_answer_used_for_two_lists_leaves_them_two():
    text = (
        "import os\nfrom flask import request\n\n"
        "def add(items, value):\n    items.append(value)\n\n"
        "def view():\n    safe, other = [], []\n    add(safe, 'ls')\n    add(other, 'ls')\n"
        "    add(other, request.args['q'])\n    os.system(safe[0])\n    os.system(other[0])\n"
        "    os.system(other[1])\n"
    )
    findings, _ = audited(("app.py", text))
    assert [(f.cwe, f.line) for f in findings] == [(78, 14)]
