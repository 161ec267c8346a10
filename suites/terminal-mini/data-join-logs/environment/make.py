import json
import random

dice = random.Random(41)
people = {f"10.0.0.{i}": name for i, name in enumerate(["ann", "bo", "cy", "di"], 1)}
people["10.0.0.9"] = "ann"
with open("access.log", "w") as file:
    for i in range(600):
        ip = f"10.0.0.{dice.randint(1, 9)}"
        status = dice.choice([200, 200, 200, 301, 404, 500, 503])
        ms = int(dice.lognormvariate(4, 1))
        row = f"2026-03-01T00:{i // 60:02}:{i % 60:02}Z {ip} GET /p/{i} {status} {ms}"
        if i % 37 == 0:
            row = row.rsplit(" ", 1)[0]
        if i % 41 == 0:
            row = row.replace(f" {status} ", " - ")
        file.write(row + "\n")
    for i in range(4):
        file.write(f"2026-03-01T01:00:0{i}Z 10.0.0.77 GET /x 200 5\n")
people["10.0.0.77"] = "eve"
json.dump(people, open("users.json", "w"))
