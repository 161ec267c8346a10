import hashlib, json, random
dice = random.Random(4)
prev, lines = "0" * 64, []
for i in range(400):
    body = f"{i} pays {dice.randint(1, 900)} to {dice.choice('abcd')}"
    row = {"prev": prev, "body": body, "hash": hashlib.sha256((prev + body).encode()).hexdigest()}
    lines.append(json.dumps(row))
    prev = hashlib.sha256(lines[-1].encode()).hexdigest()
row = json.loads(lines[272])
row["body"] = "272 pays 90000 to d"
row["hash"] = hashlib.sha256((row["prev"] + row["body"]).encode()).hexdigest()
lines[272] = json.dumps(row)
open("/app/ledger.jsonl", "w").write("\n".join(lines) + "\n")
