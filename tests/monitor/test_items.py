"""Is each item of a history looked at once, by whichever API it comes, and is what is remembered bounded?"""

from hypothesis import given, settings
from hypothesis import strategies as st

from veilig.monitor.items import Item, Seen, Source, items_of


def test_the_messages_api_says_who_said_what() -> None:
    body = {
        "system": [{"type": "text", "text": "you code"}],
        "messages": [
            {"role": "user", "content": "look"},
            {"role": "assistant", "content": [
                {"type": "text", "text": "so"},
                {"type": "tool_use", "id": "t", "name": "sh", "input": {"cmd": "ls"}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "a.txt"}]},
                {"type": "text", "text": "go on"}]},
        ],
    }  # fmt: skip
    assert items_of(body) == [
        Item(Source.CLIENT, "you code"),
        Item(Source.USER, "look"),
        Item(Source.CALL, '{"cmd":"ls"}', "sh"),
        Item(Source.OUTPUT, "a.txt"),
        Item(Source.USER, "go on"),
    ]


def test_a_history_is_looked_at_once() -> None:
    seen = Seen()
    items = [Item(Source.USER, "a"), Item(Source.CALL, "ls")]
    assert seen.fresh("c", items) == items
    seen.note("c", Item(Source.CALL, "pwd"))
    later = [*items, Item(Source.CALL, "pwd"), Item(Source.OUTPUT, "/")]
    assert seen.fresh("c", later) == [Item(Source.OUTPUT, "/")]
    assert seen.fresh("other", items) == items


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 40)), max_size=80), st.integers(1, 30))
def test_what_is_remembered_is_bounded_and_nothing_new_is_missed(
    asked: list[tuple[int, int]], most: int
) -> None:
    seen = Seen(most)
    known: dict[str, set[int]] = {}
    for who, number in asked:
        conversation = str(who)
        item = Item(Source.CALL, str(number))
        fresh = seen.fresh(conversation, [item])
        assert fresh or number in known.get(conversation, set()), "something new was passed over"
        known.setdefault(conversation, set()).add(number)
        alone = len(known[conversation])  # the conversation at hand is kept, however long
        assert len(seen) <= max(most, alone)
