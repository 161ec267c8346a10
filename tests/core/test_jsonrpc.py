"""One line of JSON-RPC: what is read, what is refused and with which code, and that both ways agree."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilig.core.jsonrpc import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    PARSE_ERROR,
    BadLine,
    Call,
    Notice,
    Reply,
    call_line,
    parse,
    result_line,
)

ids = st.integers() | st.text(max_size=5)
objects = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3)


@given(ids, st.text(max_size=9), objects)
def test_a_call_arrives_as_it_was_sent(name: int | str, method: str, params: dict[str, int | str]) -> None:
    assert parse(call_line(Call(name, method, params))) == Call(name, method, params)
    assert parse(call_line(Notice(method, params))) == Notice(method, params)
    assert parse(result_line(name, params)) == Reply(name, params)


@given(st.binary(max_size=60))
def test_no_line_is_read_as_something_else_than_a_message_or_a_bad_line(line: bytes) -> None:
    try:
        parse(line)
    except BadLine as error:
        assert error.code in (PARSE_ERROR, INVALID_REQUEST, INVALID_PARAMS)


@pytest.mark.parametrize(
    ("body", "code", "to"),
    [
        pytest.param([], INVALID_REQUEST, None, id="a batch"),
        pytest.param({"id": 1, "method": "x"}, INVALID_REQUEST, 1, id="another version"),
        pytest.param({"jsonrpc": "2.0", "id": True, "method": "x"}, INVALID_REQUEST, None, id="a yes as id"),
        pytest.param({"jsonrpc": "2.0", "id": None, "method": "x"}, INVALID_REQUEST, None, id="a null id"),
        pytest.param({"jsonrpc": "2.0", "id": 1, "method": 7}, INVALID_REQUEST, 1, id="a number as method"),
        pytest.param({"jsonrpc": "2.0", "id": 1, "method": "x", "params": [1]}, INVALID_PARAMS, 1, id="list"),
        pytest.param({"jsonrpc": "2.0", "id": 1}, INVALID_REQUEST, None, id="neither call nor answer"),
        pytest.param(
            {"jsonrpc": "2.0", "id": 1, "result": 1, "error": {}}, INVALID_REQUEST, None, id="both answers"
        ),
    ],
)
def test_what_is_no_message_is_refused_with_a_code(body: object, code: int, to: int | None) -> None:
    with pytest.raises(BadLine) as caught:
        parse(json.dumps(body).encode())
    assert (caught.value.code, caught.value.id) == (code, to)


def test_an_error_is_read_whatever_its_form() -> None:
    assert parse(b'{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"no"}}') == Reply(1, error=(-1, "no"))
    assert parse(b'{"jsonrpc":"2.0","id":1,"error":"no"}') == Reply(1, error=(-32603, "no"))


def test_a_line_that_nests_without_end_is_no_json() -> None:
    with pytest.raises(BadLine):
        parse(b"[" * 200_000)
