"""How do Anthropic's and Google's APIs write an answer? For the replay server, beside replay_forms."""

from typing import Any

from replay_values import Answer, Request, event, pieces

# --- Anthropic Messages --------------------------------------------------------------------------


def _blocks(answer: Answer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if answer.reasoning:
        signed = f"sig:{answer.reasoning}"
        found.append({"type": "thinking", "thinking": answer.reasoning, "signature": signed})
    if answer.text:
        found.append({"type": "text", "text": answer.text})
    for made in answer.calls:
        given = made.arguments if isinstance(made.arguments, dict) else {}
        found.append({"type": "tool_use", "id": made.id, "name": made.name, "input": given})
    return found


def anthropic(request: Request, answer: Answer) -> dict[str, Any]:
    stop = "refusal" if answer.refusal else "tool_use" if answer.calls else "end_turn"
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": request.body.get("model", "fake"),
        "content": _blocks(answer),
        "stop_reason": "max_tokens" if answer.stop == "length" else stop,
        "stop_sequence": None,
        "usage": {
            "input_tokens": answer.tokens_in - answer.tokens_cached,
            "cache_read_input_tokens": answer.tokens_cached,
            "cache_creation_input_tokens": 0,
            "output_tokens": answer.tokens_out,
        },
    }


def anthropic_events(request: Request, answer: Answer) -> list[bytes]:
    done = anthropic(request, answer)
    started = {**done, "content": [], "stop_reason": None, "usage": {**done["usage"], "output_tokens": 1}}
    found: list[tuple[str, dict[str, Any]]] = [("message_start", {"message": started})]
    written = iter(c.written for c in answer.calls)
    for index, block in enumerate(done["content"]):
        if block["type"] == "text":
            empty: dict[str, Any] = {"type": "text", "text": ""}
            deltas = [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]
        elif block["type"] == "thinking":
            empty = {"type": "thinking", "thinking": "", "signature": ""}
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"])]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        else:
            empty = {**block, "input": {}}
            text = next(written)
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces(text)]
        found.append(("content_block_start", {"index": index, "content_block": empty}))
        found += [("content_block_delta", {"index": index, "delta": delta}) for delta in deltas]
        found.append(("content_block_stop", {"index": index}))
    ending = {"stop_reason": done["stop_reason"], "stop_sequence": None}
    found.append(("message_delta", {"delta": ending, "usage": {"output_tokens": answer.tokens_out}}))
    found.append(("message_stop", {}))
    return [event({"type": kind, **body}, kind) for kind, body in found]


# --- Google generateContent ----------------------------------------------------------------------


def _google_parts(answer: Answer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{"text": piece} for piece in pieces(answer.text)]
    for made in answer.calls:
        given = made.arguments if isinstance(made.arguments, dict) else {}
        part: dict[str, Any] = {"functionCall": {"id": made.id, "name": made.name, "args": given}}
        if answer.reasoning:
            part["thoughtSignature"] = "c2lnOg=="
        found.append(part)
    return found


def google(request: Request, answer: Answer) -> dict[str, Any]:
    stop = "SAFETY" if answer.refusal else "MAX_TOKENS" if answer.stop == "length" else "STOP"
    content = {"role": "model", "parts": _google_parts(answer)}
    return {
        "candidates": [{"content": content, "finishReason": stop, "index": 0}],
        "modelVersion": request.path.split("/models/")[1].split(":")[0],
        "responseId": "r1",
        "usageMetadata": {
            "promptTokenCount": answer.tokens_in,
            "cachedContentTokenCount": answer.tokens_cached,
            "candidatesTokenCount": answer.tokens_out,
            "totalTokenCount": answer.tokens_in + answer.tokens_out,
        },
    }


def google_events(request: Request, answer: Answer) -> list[bytes]:
    done = google(request, answer)
    found: list[bytes] = []
    for part in done["candidates"][0]["content"]["parts"]:
        content = {"role": "model", "parts": [part]}
        found.append(event({**done, "candidates": [{"content": content, "index": 0}]}))
    last = [
        {"content": {"role": "model", "parts": []}, "finishReason": done["candidates"][0]["finishReason"]}
    ]
    return [*found, event({**done, "candidates": last})]
