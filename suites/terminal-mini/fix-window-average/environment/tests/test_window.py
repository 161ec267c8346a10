import unittest

from stats.window import averages, spikes


class Window(unittest.TestCase):
    def test_every_run_counts(self):
        self.assertEqual(averages([1, 3, 5, 7], 2), [2.0, 4.0, 6.0])

    def test_a_window_as_long_as_the_values(self):
        self.assertEqual(averages([2, 4], 2), [3.0])

    def test_too_few_values(self):
        self.assertEqual(averages([2], 2), [])

    def test_spikes(self):
        self.assertEqual(spikes([1, 1, 9, 1, 1], 2, 3), [2])


if __name__ == "__main__":
    unittest.main()
