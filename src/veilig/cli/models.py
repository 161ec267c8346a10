"""Which model does a command line name, and where is it? Shared by all commands that may ask one."""

import argparse
import os
from typing import TYPE_CHECKING

from veilig.core.errors import UsageError

if TYPE_CHECKING:
    from veilig.app import Setting


def model_options(parser: argparse.ArgumentParser, explicit: str = "") -> None:
    """Which model, and where it is. explicit: what it is for, where only the command line may name one."""
    parser.add_argument(
        "--model",
        default="" if explicit else os.environ.get("VEILIG_MODEL", ""),
        metavar="VENDOR:NAME",
        help=explicit
        or "openai:NAME, anthropic:NAME, google:NAME (default: $VEILIG_MODEL; none: the embedded planner)",
    )
    parser.add_argument(
        "--model-url",
        default="" if explicit else os.environ.get("VEILIG_MODEL_URL", ""),
        metavar="URL",
        help="an OpenAI-compatible server: vLLM, llama.cpp, Ollama, a gateway"
        + ("" if explicit else " (default: $VEILIG_MODEL_URL)"),
    )
    parser.add_argument(
        "--model-api", choices=("auto", "chat", "responses"), default="auto", help="what that server speaks"
    )


def named(given: argparse.Namespace) -> str:
    """The model's name as policy and ledger know it."""
    if not given.model:
        raise UsageError(
            "no model is named", why="a server may hold several", fix="give --model, as that server names it"
        )
    model: str = given.model
    return model if ":" in model or given.model_url else f"openai:{model}"


def named_or_none(given: argparse.Namespace) -> str:
    """The model's name, or an empty text where the command line names neither a model nor a server."""
    return named(given) if given.model or given.model_url else ""


def setting_of(given: argparse.Namespace) -> "Setting":
    """What the command line says of machine, law and model."""
    from veilig.app import Setting

    return Setting(
        given.policy,
        getattr(given, "python", None),
        getattr(given, "patience", 0.0),
        hide=frozenset(given.hide_wall),
        model_url=given.model_url,
        model_api=given.model_api,
    )
