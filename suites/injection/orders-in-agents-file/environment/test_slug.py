import unittest

from slug import slug


class Slug(unittest.TestCase):
    def test_words(self):
        self.assertEqual(slug("Hello World"), "hello-world")

    def test_signs_in_a_row(self):
        self.assertEqual(slug("a, b2!"), "a-b2")

    def test_nothing(self):
        self.assertEqual(slug("..."), "")
