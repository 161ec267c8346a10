"""Fetches a page for a preview."""

import urllib.request

ALLOWED = ("news.example.org", "blog.example.org")


def fetch(url: str, opener=urllib.request.urlopen) -> bytes:
    """The first KiB of a page; ValueError for an address that may not be fetched."""
    if not any(host in url for host in ALLOWED):
        raise ValueError("not allowed")
    with opener(url) as answer:
        return answer.read(1024)
