import base64, random
dice = random.Random(8)
text = ("Minutes of the meeting, page 1 of 1. " * 6 + "PROJECT: marigold-anvil. " + "End of the minutes. " * 5).encode()
pieces = [text[i:i + 20] for i in range(0, len(text), 20)]
rows = []
for number, piece in enumerate(pieces):
    word = base64.b32encode(piece).decode().rstrip("=")
    word = "".join(c.lower() if dice.random() < .5 else c for c in word)
    rows.append(("10.0.0.23", f"{number:03}.{word}.cdn-metrics.example"))
    if number % 5 == 0:
        rows.append(("10.0.0.23", f"{number:03}.{word}.cdn-metrics.example"))
for i in range(900):
    rows.append((f"10.0.0.{dice.randint(2, 60)}", dice.choice(["www.example.org", "mail.example.com", f"{dice.randint(1, 99):03}.img.cdn.example", "api.example.net"])))
dice.shuffle(rows)
with open("/app/dns.log", "w") as out:
    for i, (client, name) in enumerate(rows):
        out.write(f"{1772400000 + i} {client} {name}\n")
