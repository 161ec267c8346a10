import unittest

from price import settings, total


class Price(unittest.TestCase):
    def test_all_prices_count(self):
        self.assertEqual(total([200, 300]), 500, f"with {settings()}")

    def test_nothing_costs_nothing(self):
        self.assertEqual(total([]), 0)
