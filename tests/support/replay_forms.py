"""How does each vendor's API write an answer? For the replay server; the forms are those of November 2026."""

import json
from typing import Any

import replay_vendors as vendors
from replay_values import Answer, Form, Request, event, pieces


def form_of(path: str) -> Form:
    """Which vendor's API a path belongs to."""
    if "enerateContent" in path:
        return "google"
    if path.split("?", maxsplit=1)[0].endswith("/chat/completions"):
        return "chat"
    return "anthropic" if path.split("?", maxsplit=1)[0].endswith("/messages") else "responses"


def error_body(form: Form, answer: Answer) -> dict[str, Any]:
    """An error in the form's words."""
    if form == "anthropic":
        return {"type": "error", "error": {"type": answer.code or "api_error", "message": answer.error}}
    if form == "google":
        return {
            "error": {
                "code": answer.status if answer.status != 200 else 503,
                "message": answer.error,
                "status": answer.code or "UNKNOWN",
            }
        }
    kind = "invalid_request_error" if answer.status < 500 else "server_error"
    return {"error": {"message": answer.error, "type": kind, "code": answer.code or None}}


def whole(request: Request, answer: Answer) -> dict[str, Any]:
    """The answer in one body."""
    build = {"chat": _chat, "responses": _response, "anthropic": vendors.anthropic, "google": vendors.google}
    return build[request.form](request, answer)


def events(request: Request, answer: Answer) -> list[bytes]:
    """The answer as server-sent events, each ready to be written; an error comes after two of them."""
    build = {
        "chat": _chat_events,
        "responses": _response_events,
        "anthropic": vendors.anthropic_events,
        "google": vendors.google_events,
    }
    found = build[request.form](request, answer)
    return [*found[:2], _stream_error(request.form, answer)] if answer.error else found


def _stream_error(form: Form, answer: Answer) -> bytes:
    if form != "responses":
        return event(error_body(form, answer), "error" if form == "anthropic" else "")
    why = {"code": answer.code, "message": answer.error}
    response = {"id": "r", "status": "failed", "model": "m", "created_at": 1, "error": why, "output": []}
    return event({"type": "response.failed", "sequence_number": 9, "response": response}, "response.failed")


# --- OpenAI Chat ---------------------------------------------------------------------------------


def _chat_base(request: Request, kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": request.body.get("model", "fake")}


def _chat_usage(answer: Answer) -> dict[str, Any]:
    return {
        "prompt_tokens": answer.tokens_in,
        "completion_tokens": answer.tokens_out,
        "total_tokens": answer.tokens_in + answer.tokens_out,
        "prompt_tokens_details": {"cached_tokens": answer.tokens_cached},
    }


def _chat_stop(answer: Answer) -> str:
    return answer.stop or ("tool_calls" if answer.calls else "stop")


def _chat_calls(answer: Answer) -> list[dict[str, Any]]:
    return [
        {"index": i, "id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.written}}
        for i, c in enumerate(answer.calls)
    ]


def _chat(request: Request, answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or None}
    if answer.calls:
        message["tool_calls"] = _chat_calls(answer)
    if answer.refusal:
        message["refusal"] = answer.refusal
    choice = {"index": 0, "message": message, "finish_reason": _chat_stop(answer)}
    base = _chat_base(request, "chat.completion")
    return {**base, "choices": [choice], "usage": _chat_usage(answer)}


def _chat_events(request: Request, answer: Answer) -> list[bytes]:
    base = _chat_base(request, "chat.completion.chunk")

    def chunk(delta: dict[str, Any], stop: str | None = None) -> bytes:
        return event({**base, "choices": [{"index": 0, "delta": delta, "finish_reason": stop}]})

    found = [chunk({"role": "assistant", "content": ""})]
    found += [chunk({"reasoning_content": piece}) for piece in pieces(answer.reasoning)]
    found += [chunk({"content": piece}) for piece in pieces(answer.text)]
    found += [chunk({"refusal": piece}) for piece in pieces(answer.refusal)]
    for made in _chat_calls(answer):
        function = made["function"]
        found.append(chunk({"tool_calls": [{**made, "function": {**function, "arguments": ""}}]}))
        for piece in pieces(function["arguments"]):
            found.append(chunk({"tool_calls": [{"index": made["index"], "function": {"arguments": piece}}]}))
    found.append(chunk({}, _chat_stop(answer)))
    found.append(event({**base, "choices": [], "usage": _chat_usage(answer)}))
    return [*found, event("[DONE]")]


# --- OpenAI Responses ----------------------------------------------------------------------------


def _items(answer: Answer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if answer.reasoning:
        summary = [{"type": "summary_text", "text": answer.reasoning}]
        signed = f"sig:{answer.reasoning}"
        found.append({"id": "rs_1", "type": "reasoning", "summary": summary, "encrypted_content": signed})
    if answer.text or answer.refusal:
        part = {"type": "output_text", "text": answer.text, "annotations": []}
        if answer.refusal:
            part = {"type": "refusal", "refusal": answer.refusal}
        message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed"}
        found.append({**message, "content": [part]})
    for made in answer.calls:
        base = {"id": f"fc_{made.id}", "type": "function_call", "status": "completed"}
        found.append({**base, "call_id": made.id, "name": made.name, "arguments": made.written})
    return found


def _response(request: Request, answer: Answer) -> dict[str, Any]:
    usage = {
        "input_tokens": answer.tokens_in,
        "input_tokens_details": {"cached_tokens": answer.tokens_cached},
        "output_tokens": answer.tokens_out,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": answer.tokens_in + answer.tokens_out,
    }
    cut = {"reason": "max_output_tokens"} if answer.stop == "length" else None
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "incomplete" if cut else "completed",
        "incomplete_details": cut,
        "model": request.body.get("model", "fake"),
        "output": _items(answer),
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage,
    }


def _response_events(request: Request, answer: Answer) -> list[bytes]:
    done = _response(request, answer)
    found: list[tuple[str, dict[str, Any]]] = [
        ("response.created", {"response": {**done, "status": "in_progress", "output": [], "usage": None}})
    ]
    for index, item in enumerate(done["output"]):
        at = {"output_index": index, "item_id": item["id"]}
        empty = {**item, "status": "in_progress"}
        if item["type"] == "message":
            empty["content"] = []
        elif item["type"] == "function_call":
            empty["arguments"] = ""
        found.append(("response.output_item.added", {"output_index": index, "item": empty}))
        found += _response_deltas(item, at)
        found.append(("response.output_item.done", {"output_index": index, "item": item}))
    last = "response.incomplete" if done["incomplete_details"] else "response.completed"
    found.append((last, {"response": done}))
    return [
        event({"type": kind, "sequence_number": number, **body}, kind)
        for number, (kind, body) in enumerate(found)
    ]


def _response_deltas(item: dict[str, Any], at: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    if item["type"] == "function_call":
        kind, whole_text = "response.function_call_arguments", item["arguments"]
        deltas = [(f"{kind}.delta", {**at, "delta": piece}) for piece in pieces(whole_text)]
        return [*deltas, (f"{kind}.done", {**at, "arguments": whole_text, "name": item["name"]})]
    if item["type"] != "message":
        return []
    part = item["content"][0]
    at = {**at, "content_index": 0}
    if part["type"] == "refusal":
        kind, key, whole_text = "response.refusal", "refusal", part["refusal"]
    else:
        kind, key, whole_text = "response.output_text", "text", part["text"]
    more = {"logprobs": []} if key == "text" else {}
    deltas = [(f"{kind}.delta", {**at, "delta": piece, **more}) for piece in pieces(whole_text)]
    return [
        ("response.content_part.added", {**at, "part": {**part, key: ""}}),
        *deltas,
        (f"{kind}.done", {**at, key: whole_text, **more}),
        ("response.content_part.done", {**at, "part": part}),
    ]


def parsed(written: list[bytes]) -> list[dict[str, Any]]:
    """What stands in events, for those who want no server."""
    return [json.loads(item.split(b"data: ", 1)[1]) for item in written]
