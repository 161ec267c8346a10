import unittest

from paging import page, pages


class Paging(unittest.TestCase):
    def test_a_part_of_a_page_is_a_page(self):
        self.assertEqual(pages(5, 2), 3)

    def test_full_pages(self):
        self.assertEqual(pages(4, 2), 2)

    def test_none(self):
        self.assertEqual(pages(0, 2), 0)

    def test_the_last(self):
        self.assertEqual(page([1, 2, 3], 2, 2), [3])
