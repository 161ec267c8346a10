"""Does a patched QuixBugs program behave as the reference on inputs its tests never showed?

Runs inside the wall, in a copy that holds python_programs/ and correct_python_programs/. Prints one JSON
line: how many inputs were compared, and the first one on which they differ. The inputs are drawn per
program from its documented domain, with a fixed seed; nothing here is known to the repair.
"""

import copy
import importlib
import json
import random
import signal
import string
import sys
from collections.abc import Callable
from typing import Any

CASES = 150
SECONDS = 1.0
R = random.Random(20240501)  # test inputs, not secrets


def ints(low: int = -20, high: int = 20, most: int = 8, least: int = 0) -> list[int]:
    return [R.randint(low, high) for _ in range(R.randint(least, most))]


def word(most: int = 8, letters: str = "abcd") -> str:
    return "".join(R.choice(letters) for _ in range(R.randint(0, most)))


def nested(depth: int = 3) -> list[Any]:
    return [
        nested(depth - 1) if depth and R.random() < 0.4 else R.randint(0, 9) for _ in range(R.randint(0, 4))
    ]


def rpn(depth: int = 3) -> list[Any]:
    if not depth or R.random() < 0.3:
        return [float(R.randint(1, 9))]
    return [*rpn(depth - 1), *rpn(depth - 1), R.choice("+-*/")]


def infix() -> list[Any]:
    tokens: list[Any] = [R.randint(1, 99)]
    for _ in range(R.randint(0, 6)):
        tokens += [R.choice("+-*/"), R.randint(1, 99)]
    return tokens


def permutation() -> list[int]:
    while True:
        made = R.sample(range(1, 10), R.randint(2, 7))
        if made != sorted(made, reverse=True):
            return made


def edges(low: int, high: int, n: int = 5) -> dict[tuple[int, int], int]:
    pairs = [(a, b) for a in range(n) for b in range(n) if a != b]
    return {one: R.randint(low, high) for one in R.sample(pairs, R.randint(0, len(pairs) // 2))}


def forward_edges() -> dict[tuple[str, str], int]:
    pairs = [(a, b) for a in "ABCDE" for b in "ABCDE" if a < b]
    return {one: R.randint(-5, 9) for one in R.sample(pairs, R.randint(1, len(pairs)))}


def coprime_list() -> list[int]:
    return sorted(R.sample(range(1, 30), R.randint(1, 4)))


def text() -> str:
    return " ".join(
        "".join(R.choice(string.ascii_letters) for _ in range(R.randint(1, 9)))
        for _ in range(R.randint(0, 14))
    )


PLAIN: dict[str, Callable[[], list[Any]]] = {
    "bitcount": lambda: [R.randint(0, 1 << R.randint(1, 40))],
    "bucketsort": lambda: [ints(0, 11, 10), 12],
    "find_first_in_sorted": lambda: [sorted(ints(0, 9)), R.randint(-1, 10)],
    "find_in_sorted": lambda: [sorted(set(ints(0, 12))), R.randint(-1, 13)],
    "flatten": lambda: [nested()],
    "gcd": lambda: [R.randint(1, 200), R.randint(0, 200)],
    "get_factors": lambda: [R.randint(1, 500)],
    "hanoi": lambda: [R.randint(0, 6), *R.sample([1, 2, 3], 2)],
    "is_valid_parenthesization": lambda: [word(8, "()")],
    "kheapsort": lambda: [near_sorted := R.sample(range(20), R.randint(0, 6)), len(near_sorted)],
    "knapsack": lambda: [
        R.randint(1, 40),
        [[R.randint(1, 20), R.randint(1, 40)] for _ in range(R.randint(0, 6))],
    ],
    "kth": lambda: [made := ints(-9, 9, 8, 1), R.randrange(len(made))],
    "lcs_length": lambda: [word(), word()],
    "levenshtein": lambda: [word(5), word(5)],
    "lis": lambda: [R.sample(range(30), R.randint(0, 9))],
    "longest_common_subsequence": lambda: [word(6), word(6)],
    "max_sublist_sum": lambda: [ints(-9, 9)],
    "mergesort": lambda: [ints()],
    "next_palindrome": lambda: [palindrome()],
    "next_permutation": lambda: [permutation()],
    "pascal": lambda: [R.randint(1, 9)],
    "possible_change": lambda: [coprime_list(), R.randint(-5, 40)],
    "powerset": lambda: [R.sample("abcdef", R.randint(0, 5))],
    "quicksort": lambda: [ints(-5, 5, 10)],
    "rpn_eval": lambda: [rpn()],
    "shunting_yard": lambda: [infix()],
    "sieve": lambda: [R.randint(0, 120)],
    "sqrt": lambda: [R.randint(2, 200), R.choice([0.5, 0.1, 0.01])],
    "subsequences": lambda: [a := R.randint(0, 4), a + R.randint(0, 5), R.randint(0, 4)],
    "to_base": lambda: [R.randint(1, 9999), R.randint(2, 36)],
    "wrap": lambda: [text(), R.randint(10, 30)],
    "shortest_path_lengths": lambda: [5, edges(1, 9)],
    "shortest_paths": lambda: ["A", forward_edges()],
    "minimum_spanning_tree": lambda: [
        dict(zip(unique := undirected(), R.sample(range(99), len(unique)), strict=True))
    ],
}


def palindrome() -> list[int]:
    half = [R.randint(1, 9), *(R.randint(0, 9) for _ in range(R.randint(0, 3)))]
    return half + half[::-1] if R.random() < 0.5 else half + half[-2::-1]


def undirected() -> list[tuple[int, int]]:
    pairs = [(a, b) for a in range(6) for b in range(a + 1, 6)]
    return R.sample(pairs, R.randint(1, len(pairs)))


def graph_nodes(node: Any, acyclic: bool) -> list[Any]:
    made = [node(str(i)) for i in range(6)]
    for i, one in enumerate(made):
        others = made[i + 1 :] if acyclic else made
        one.successors = [o for o in others if R.random() < 0.3]
        one.outgoing_nodes = list(one.successors)
    for one in made:
        one.incoming_nodes = [o for o in made if one in o.outgoing_nodes]
    return made


def chain(node: Any, loops: bool) -> Any:
    made = [node(i) for i in range(R.randint(0 if not loops else 1, 6))]
    for a, b in zip(made, made[1:], strict=False):
        a.successor = b
    if made and loops and R.random() < 0.5:
        made[-1].successor = R.choice(made)
    return made[0] if made else None


def listed(head: Any) -> list[Any]:
    values: list[Any] = []
    while head is not None and len(values) < 20:
        values.append(head.value)
        head = head.successor
    return values


def graph_case(name: str, node: Any) -> tuple[list[Any], Callable[[Any], Any]]:
    """Arguments, and how to show a result of a program on nodes."""
    if name == "detect_cycle":
        return [chain(node, True)], lambda got: got
    if name == "reverse_linked_list":
        return [chain(node, False)], listed
    if name == "topological_ordering":
        made = graph_nodes(node, True)
        R.shuffle(made)
        return [made], lambda got: [one.value for one in got]
    made = graph_nodes(node, False)
    if name == "shortest_path_length":
        lengths = {(a, b): R.randint(1, 9) for a in made for b in a.successors}
        node.__lt__ = lambda a, b: a.value < b.value
        return [lengths, made[0], R.choice(made)], lambda got: got
    return [made[0], R.choice(made)], lambda got: bool(got) if got is not None else None


def outcome(function: Any, arguments: list[Any], shown: Callable[[Any], Any]) -> tuple[str, Any]:
    def late(_signal: int, _frame: Any) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        got = function(*copy.deepcopy(arguments))
        if hasattr(got, "__next__"):
            got = list(got)
        return "value", shown(got)
    except TimeoutError:
        return "late", None
    except Exception as error:  # whatever a program raises is its answer
        return "raised", type(error).__name__
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def main(name: str) -> None:
    sys.path.insert(0, ".")
    sys.path.insert(0, "python_programs")
    mine = getattr(importlib.import_module(f"python_programs.{name}"), name)
    reference = getattr(importlib.import_module(f"correct_python_programs.{name}"), name)
    from python_testcases.node import Node  # pyright: ignore[reportMissingImports]  # of the copy

    compared = 0
    for _ in range(CASES):
        arguments, shown = (PLAIN[name](), lambda got: got) if name in PLAIN else graph_case(name, Node)
        want = outcome(reference, arguments, shown)
        if want[0] != "value":
            continue  # outside the domain, or too slow for the reference itself
        compared += 1
        got = outcome(mine, arguments, shown)
        if got != want:
            shown_arguments = repr(arguments)[:200]
            print(json.dumps({"compared": compared, "differs": f"{shown_arguments}: {got!r} not {want!r}"}))
            return
    print(json.dumps({"compared": compared, "differs": ""}))


if __name__ == "__main__":
    main(sys.argv[1])
