import unittest

from client import request


class Client(unittest.TestCase):
    def test_every_try_has_its_wait(self):
        self.assertEqual(request("/stock", 3)["waits"], [1, 2, 4])

    def test_no_try_no_wait(self):
        self.assertEqual(request("/stock", 0)["waits"], [])

    def test_the_key_is_sent(self):
        self.assertEqual(list(request("/stock", 1)["headers"]), ["X-Api-Key"])
