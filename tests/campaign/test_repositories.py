"""Which repositories does a list name?"""

from pathlib import Path

import pytest

from veilig.campaign.repositories import Repository, read_repositories
from veilig.core.errors import UsageError

BASE = Path("/work")


def test_a_list_names_folders_addresses_refs_and_each_once() -> None:
    text = (
        "# all of ours\n\nshop\n  shop main # with a ref\nhttps://git.example/a.git v1.2\n"
        "/abs/x\ntwo\\ words\nshop\nx#y\n"
    )
    assert read_repositories(text, BASE, "repos.txt") == [
        Repository("shop", "/work/shop", "", 3),
        Repository("shop", "/work/shop", "main", 4),
        Repository("https://git.example/a.git", "https://git.example/a.git", "v1.2", 5),
        Repository("/abs/x", "/abs/x", "", 6),
        Repository("two words", "/work/two words", "", 7),
        Repository("x#y", "/work/x#y", "", 9),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "a b c",
        "https://ann:s3cr3t@git.example/a.git",
        "http://git.example/a.git",
        "ssh://git.example/a.git",
        "ext::sh -c true",
        "git@git.example:a.git",
        "shop --upload-pack=true",
        "shop main..other",
        "shop HEAD@{1}",
        "shop /main",
    ],
)
def test_a_line_that_could_mean_something_else_is_refused_with_its_number(line: str) -> None:
    with pytest.raises(UsageError) as told:
        read_repositories(f"fine\n{line}\n", BASE, "repos.txt")
    assert "repos.txt:2" in told.value.what
    assert "s3cr3t" not in str(told.value)


def test_an_empty_list_is_no_campaign() -> None:
    with pytest.raises(UsageError):
        read_repositories("# nothing\n", BASE, "repos.txt")
