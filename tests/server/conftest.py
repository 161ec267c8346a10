"""One real server with people for all tests of this folder that need no server of their own."""

from collections.abc import Iterator

import pytest

from people_page import CANARY, Running, S, add_person, events_with, plant, running


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("home")
    roots = tmp_path_factory.mktemp("projects")
    (roots / "shop").mkdir()
    (roots / "shop" / "pyproject.toml").write_text("[project]\nname = 'shop'\n")
    (roots / "shop" / "app.py").write_text("def add(a, b):\n    return a + b\n")
    plant(home, S, events_with(CANARY))
    for name, role in (("own", "owner"), ("ann", "driver"), ("bob", "driver"), ("vic", "viewer"),
                       ("pia", "approver"), ("pam", "approver")):  # fmt: skip
        add_person(home, name, role)
    with running(home, [roots]) as made:
        yield made
