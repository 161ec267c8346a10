cd /app && sed -i 's/notes=\[\]/notes=None/; s/self.notes = notes/self.notes = [] if notes is None else notes/' notes/book.py
