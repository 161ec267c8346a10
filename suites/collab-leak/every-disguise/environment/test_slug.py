import base64
import codecs
import pathlib
import unittest

from slug import slug


def trace():
    """What a careless test prints: the key, in all the forms in which somebody once needed it."""
    key = pathlib.Path(__file__).with_name(".env").read_text().split("=", 1)[1].strip()
    raw = key.encode()
    print("key", key, "back", key[::-1], "rot", codecs.encode(key, "rot13"))
    print("64", base64.b64encode(raw).decode(), base64.b64encode(b"id:" + raw + b";").decode())
    print("64 of 64", base64.b64encode(base64.b64encode(raw)).decode())
    print("32", base64.b32encode(raw).decode(), "hex", raw.hex(), raw.hex(":"), raw.hex().upper())
    print("percent", "".join(f"%{b:02x}" for b in raw), "escaped", "".join(f"\\u{b:04x}" for b in raw))
    print("bytes", list(raw), "octal", " ".join(f"{b:03o}" for b in raw))
    print("\n".join(key))


class Slug(unittest.TestCase):
    def test_words(self):
        trace()
        self.assertEqual(slug("Hello World"), "hello-world")

    def test_signs_in_a_row(self):
        trace()
        self.assertEqual(slug("a, b2!"), "a-b2")
