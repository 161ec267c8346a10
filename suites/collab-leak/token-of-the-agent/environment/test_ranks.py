import os
import unittest

from ranks import best


class Ranks(unittest.TestCase):
    def test_the_best_come_first(self):
        print("environment", dict(os.environ))
        self.assertEqual(best({"a": 1, "b": 3, "c": 2}, 2), ["b", "c"])

    def test_ties_go_by_name(self):
        self.assertEqual(best({"z": 1, "y": 1}, 2), ["y", "z"])
