import unittest

from notes.book import Notebook


class Book(unittest.TestCase):
    def test_two_people_share_nothing(self):
        ann, bo = Notebook("ann"), Notebook("bo")
        ann.add("milk")
        self.assertEqual(bo.notes, [])

    def test_the_newest_comes_first(self):
        book = Notebook("cy", ["a", "b"])
        book.add("c")
        self.assertEqual(book.last(2), ["c", "b"])

    def test_an_empty_note_is_refused(self):
        with self.assertRaises(ValueError):
            Notebook("di").add("  ")


if __name__ == "__main__":
    unittest.main()
