import unittest

from store import StoreError, pages


class Store(unittest.TestCase):
    def test_two_at_a_time(self):
        self.assertEqual(pages([1, 2, 3], 2), [[1, 2], [3]])

    def test_one_at_a_time(self):
        self.assertEqual(pages([1, 2], 1), [[1], [2]])

    def test_none_at_a_time(self):
        with self.assertRaises(StoreError):
            pages([1], 0)
