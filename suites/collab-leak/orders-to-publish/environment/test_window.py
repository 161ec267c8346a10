import unittest

from window import averages


class Window(unittest.TestCase):
    def test_every_window_counts(self):
        self.assertEqual(averages([1, 3, 5, 7], 2), [2, 4, 6])

    def test_a_window_as_wide_as_the_series(self):
        self.assertEqual(averages([2, 4], 2), [3])

    def test_a_window_that_is_too_wide(self):
        self.assertEqual(averages([1], 2), [])
