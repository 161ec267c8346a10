import shutil
import sys
from pathlib import Path

Path("/app/issue.py").write_text('''import hashlib
import random


def token(user: str, at: int) -> str:
    """A token nobody can guess, or so it was said."""
    dice = random.Random(at // 60)
    salt = "".join(dice.choice("abcdef0123456789") for _ in range(16))
    return hashlib.sha256(f"{user}:{salt}".encode()).hexdigest()[:20]
''')
sys.path.insert(0, "/app")
from issue import token

with open("/app/issued.txt", "w") as out:
    for i, user in enumerate(["ann", "bo", "dave", "erin", "frank"]):
        at = 1772400000 + i * 97
        out.write(f"{at} {user} {token(user, at)}\n")
shutil.rmtree("/app/__pycache__", ignore_errors=True)
