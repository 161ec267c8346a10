"""Does what one module shows depend on which module was looked at first?"""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veilig.audit.detect import Detector
from veilig.audit.engine.loading import NESTED_MAX
from veilig.audit.engine.program import build
from veilig.audit.engine.run import follow_unit, new_engine
from veilig.audit.engine.source import parse
from veilig.audit.rules import RULES
from veilig.audit.rules.known import KNOWLEDGE
from veilig.audit.scan import scan_sources

SINK = "import os\n\n\ndef act(x):\n    os.system('x ' + x)\n"
VIEW = "from flask import request\n"


def units(files: dict[str, str], order: list[str]) -> dict[str, object]:
    """What each module shows and looked at, followed in this order by one engine."""
    modules = {path: parse(path, text) for path, text in files.items()}
    detector = Detector(RULES, {path: module.lines for path, module in modules.items()})
    engine = new_engine(build(modules), KNOWLEDGE, detector)
    shown: dict[str, object] = {}
    for path in order:
        unit = follow_unit(engine, modules[path], lambda: False)
        told = sorted((*place, hit.message, hit.confidence, hit.flow) for place, hit in unit.told.items())
        shown[path] = (told, unit.incomplete, sorted(unit.notes.touched), sorted(unit.notes.asked))
    return shown


RING = {
    "a.py": "from b import B, go\nfrom c import C\n\n\nclass A(C):\n    def run(self, x):\n        go(x)\n",
    "b.py": f"{VIEW}from a import A\nfrom d import act\n\n\ndef go(x):\n    act(x)\n\n\n"
    "class B(A):\n    pass\n\n\ndef view():\n    B().run(request.args['q'])\n",
    "c.py": "import b\n\n\nclass C(b.B):\n    pass\n\n\nHELD = [b.B()]\n",
    "d.py": SINK,
}


def test_modules_that_use_one_another_while_they_load_show_the_same_in_every_order():
    first = units(RING, sorted(RING))
    for order in itertools.permutations(RING):
        assert units(RING, list(order)) == first


def test_a_flow_through_modules_that_import_one_another_is_found():
    files = {
        "a.py": f"{VIEW}from b import b\n\n\ndef view():\n    b(request.args['q'])\n\n\n"
        "def last(x):\n    return x\n",
        "b.py": "from a import last\nfrom d import act\n\n\ndef b(x):\n    act(last(x))\n",
        "d.py": SINK,
    }
    assert [f.path for f in scan_sources(files).findings if f.rule == "command-injection"] == ["d.py"]


@pytest.mark.parametrize("length", [NESTED_MAX - 1, NESTED_MAX, NESTED_MAX + 1, 3 * NESTED_MAX])
@pytest.mark.parametrize("ring", [False, True], ids=["chain", "ring"])
def test_a_long_chain_of_bodies_that_wait_for_one_another_loads_from_either_end(length: int, *, ring: bool):
    last = "from m0 import C0\n" if ring else ""
    files = {
        f"m{i}.py": f"from m{i + 1} import C{i + 1}\n\n\nclass C{i}(C{i + 1}):\n    pass\n"
        for i in range(length)
    }
    files[f"m{length}.py"] = f"{last}{SINK}\n\nclass C{length}({'C0' if ring else ''}):\n    act = act\n"
    paths = sorted(files, key=lambda path: int(path[1:-3]))
    forwards = units(files, paths)
    assert forwards == units(files, paths[::-1])
    assert not any(shown[1] for shown in forwards.values())  # type: ignore[index]


def test_what_one_module_writes_to_a_global_is_not_seen_when_the_next_is_followed():
    files = {
        "a.py": "X = ''\n\n\ndef put(x):\n    global X\n    X = x\n",
        "b.py": f"{VIEW}import a\nimport os\n\n\ndef view():\n"
        "    a.put(request.args['q'])\n    os.system(a.X)\n",
        "c.py": "import a\nimport os\n\n\ndef other():\n    os.system(a.X)\n",
    }
    for order in itertools.permutations(files):
        shown = units(files, list(order))
        assert shown["c.py"] == units(files, ["c.py"])["c.py"]
        assert "command-injection" in str(shown["b.py"])


PIECES = [
    "from {m} import *\n",
    "from {m} import f{n}\nZ = f{n}('z')\n",
    "import {m}\nL = [{m}.f{n}(1)]\n",
    "from {m} import K{n}\n\n\nclass K(K{n}):\n    pass\n",
    "import {m}\n\n\ndef g(x):\n    return {m}.f{n}(x)\n",
    f"{VIEW}from {{m}} import g\n\n\ndef v():\n    g(request.args['q'])\n",
    "S = []\n\n\ndef h(x):\n    global S\n    S = x\n\n\nh(1)\n",
]


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_whatever_modules_ask_of_one_another_the_order_does_not_matter(data: st.DataObject):
    names = ["a", "b", "c", "d"]
    files: dict[str, str] = {}
    for name in names:
        drawn = data.draw(st.lists(st.tuples(st.sampled_from(PIECES), st.sampled_from(names)), max_size=4))
        text = "".join(piece.format(m=other, n=names.index(other)) for piece, other in drawn)
        own = names.index(name)
        files[f"{name}.py"] = (
            f"{text}\n\ndef f{own}(x):\n    import os\n    os.system(x)\n    return x\n\n\n"
            f"class K{own}:\n    def f{own}(self, x):\n        return f{own}(x)\n"
        )
    order = data.draw(st.permutations(sorted(files)))
    assert units(files, list(order)) == units(files, sorted(files))
