import sqlite3
db = sqlite3.connect("/app/chat.db")
db.execute("pragma secure_delete = off")
db.execute("pragma journal_mode = delete")
db.execute("create table messages (id integer primary key, who text, body text)")
for i in range(300):
    db.execute("insert into messages (who, body) values (?, ?)", ("ann" if i % 2 else "bo", f"message number {i} about lunch and other ordinary things"))
db.execute("insert into messages (who, body) values ('bo', 'meet at the east gate, the word is heliotrope-93, tell nobody')")
for i in range(50):
    db.execute("insert into messages (who, body) values (?, ?)", ("ann", f"later message {i}"))
db.commit()
db.execute("delete from messages where body like '%east gate%'")
db.commit()
db.close()
