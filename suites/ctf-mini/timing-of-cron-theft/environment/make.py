import json, random
dice = random.Random(21)
rows = []
for h in range(12):
    for p in ("sshd", "nginx", "backupd", "kworkerd", "metricsd"):
        t = 1772400000 + dice.randint(0, 5000)
        for _ in range(90):
            t += {"nginx": dice.randint(1, 60), "metricsd": 60 + dice.randint(-1, 1), "backupd": dice.randint(200, 400)}.get(p, dice.randint(30, 4000))
            rows.append((t, f"h{h:02}", p))
t = 1772400000
for i in range(80):
    t += 300 + dice.randint(-3, 3)
    rows.append((t, "h07", "kworker" + "d2"))
    if i % 11 == 0:
        rows.append((t + 100, "h07", "sshd"))
t = 1772400000
for i in range(80):
    t += 300 + (dice.randint(-3, 3) if i % 20 else 45)
    rows.append((t, "h03", "updated"))
with open("/app/events.jsonl", "w") as out:
    for t, h, p in sorted(rows):
        out.write(json.dumps({"t": t, "host": h, "proc": p, "bytes": dice.randint(100, 9000)}) + "\n")
