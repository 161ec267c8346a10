"""How many lines does an export have? The accountant asks every month."""

import subprocess

from flask import Blueprint, request

exports = Blueprint("exports", __name__)


def line_count(path):
    """Lines of a file, as `wc -l` counts them."""
    done = subprocess.run(f"wc -l {path}", shell=True, capture_output=True, text=True)
    return int(done.stdout.split()[0]) if done.returncode == 0 else 0


@exports.get("/exports/lines")
def lines():
    return {"lines": line_count(request.args.get("file", ""))}
