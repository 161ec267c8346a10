"""Hands out files of a folder."""

import os


def read_upload(folder: str, name: str) -> bytes:
    """The content of an uploaded file; FileNotFoundError when there is none."""
    path = os.path.join(folder, name)
    with open(path, "rb") as file:
        return file.read()


def handle(request: dict, folder: str) -> tuple[int, bytes]:
    """Answer a request for a download."""
    try:
        return 200, read_upload(folder, request["args"]["name"])
    except FileNotFoundError:
        return 404, b"not found"
