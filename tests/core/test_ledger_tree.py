"""Do the Merkle proofs prove what is so, and nothing else? Compared with the definition in RFC 9162."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilig.core.errors import LedgerError
from veilig.core.ledger_proof import Prover, verify_consistency, verify_inclusion
from veilig.core.ledger_tree import (
    EMPTY,
    EMPTY_ROOT,
    Frontier,
    Tree,
    leaf_hash,
    node_hash,
    verify_consistency_path,
    verify_inclusion_path,
)


def naive_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 9162, word for word."""
    if len(leaves) <= 1:
        return leaves[0] if leaves else hashlib.sha256(b"").digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return node_hash(naive_root(leaves[:k]), naive_root(leaves[k:]))


def some_leaves(count: int) -> list[bytes]:
    return [leaf_hash(bytes([i % 256, i // 256])) for i in range(count)]


def test_the_roots_are_those_of_the_certificate_transparency_test_vectors():
    entries = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ]
    leaves = [leaf_hash(bytes.fromhex(entry)) for entry in entries]
    tree = Tree(leaves)
    assert Tree([]).root() == EMPTY_ROOT
    assert tree.root(1).hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert tree.root(8).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


@pytest.mark.parametrize("count", range(20))
def test_frontier_and_tree_agree_with_the_definition(count: int):
    leaves = some_leaves(count)
    frontier = EMPTY
    for leaf in leaves:
        frontier = frontier.push(leaf)
    assert frontier.root() == Tree(leaves).root() == naive_root(leaves)
    assert Frontier.unpack(count, frontier.packed()) == frontier


def test_a_frontier_of_another_size_is_refused():
    with pytest.raises(ValueError, match="no frontier"):
        Frontier.unpack(3, b"x" * 32)


@given(
    st.integers(1, 70).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1), st.integers(0, n - 1)))
)
def test_an_inclusion_proof_holds_for_its_leaf_and_for_no_other(case: tuple[int, int, int]):
    size, index, other = case
    leaves = some_leaves(size)
    tree = Tree(leaves)
    path, root = tree.inclusion(index, size), tree.root()
    assert verify_inclusion_path(leaves[index], index, size, path, root)
    assert verify_inclusion_path(leaves[other], index, size, path, root) == (other == index)
    assert verify_inclusion_path(leaves[index], other, size, path, root) == (other == index)
    assert not verify_inclusion_path(leaves[index], index, size, [*path, root], root)
    assert not path or not verify_inclusion_path(leaves[index], index, size, path[:-1], root)


@given(st.integers(1, 70).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))), st.integers(0, 69))
def test_a_consistency_proof_holds_for_a_prefix_and_not_for_a_changed_past(
    sizes: tuple[int, int], where: int
):
    new, old = sizes
    leaves = some_leaves(new)
    tree = Tree(leaves)
    path, old_root, new_root = tree.consistency(old, new), tree.root(old), tree.root(new)
    assert verify_consistency_path(old, new, old_root, new_root, path)
    assert old == new or not verify_consistency_path(old, new, old_root, new_root, path[:-1])
    changed = list(leaves)
    changed[where % old] = leaf_hash(b"forged")
    forged = Tree(changed)
    assert not verify_consistency_path(old, new, old_root, forged.root(new), forged.consistency(old, new))


def test_proofs_outside_the_tree_are_refused():
    tree = Tree(some_leaves(4))
    for index, size in [(-1, 4), (4, 4), (0, 5), (0, 0)]:
        with pytest.raises(ValueError, match="not among"):
            tree.inclusion(index, size)
    for old, new in [(0, 4), (3, 2), (1, 5)]:
        with pytest.raises(ValueError, match="do not fit"):
            tree.consistency(old, new)
    assert not verify_inclusion_path(b"", 0, 0, [], EMPTY_ROOT)
    assert not verify_consistency_path(0, 1, EMPTY_ROOT, tree.root(1), [])


def test_hex_that_is_none_proves_nothing():
    assert not verify_inclusion("zz", 1, 1, [], "00")
    assert not verify_consistency(1, 2, "00", "00", ["no hex"])


@given(st.lists(st.integers(0, 9), max_size=8))
def test_a_tree_that_grows_is_the_tree_made_at_once(steps: list[int]):
    leaves = some_leaves(sum(steps))
    grown, at = Tree(), 0
    for step in steps:
        grown.extend(leaves[at : at + step])
        at += step
        assert grown.root() == Tree(leaves[:at]).root() and grown.size == at
    assert all(grown.inclusion(i, at) == Tree(leaves).inclusion(i, at) for i in range(at))


def test_a_prover_reads_each_leaf_once_and_refuses_events_that_are_not_there():
    leaves, asked = some_leaves(9), list[int]()

    def after(count: int) -> list[bytes]:
        asked.append(count)
        return leaves[count:]

    prover = Prover(after)
    first = prover.inclusion([1, 9])
    leaves += some_leaves(12)[9:]
    later = prover.inclusion([9])[0]
    assert asked == [0, 9] and [p.size for p in (*first, later)] == [9, 9, 12]
    assert all(verify_inclusion(p.leaf, p.seq, p.size, p.path, p.root) for p in (*first, later))
    same = prover.consistency(9, 12)
    assert same.root1 == first[0].root
    assert verify_consistency(9, 12, same.root1, same.root2, same.path)
    for wrong in (0, 13):
        with pytest.raises(LedgerError):
            prover.inclusion([wrong])
