names = ["José Núñez", "Zoë Müller", "Anna", "Søren Åberg", "François", "Łukasz Żak", "Ødegård", "Bo"]
rows = []
for i in range(64):
    text = f"{i},{names[i % 8]}"
    kind = (i * 7 + i // 8) % 3
    if kind == 1 and "Ł" not in text:
        rows.append(text.encode("latin-1"))
    elif kind == 2:
        rows.append(text.encode("utf-8").decode("latin-1").encode("utf-8"))
    else:
        rows.append(text.encode("utf-8"))
open("names.csv", "wb").write(b"\n".join(rows) + b"\n")
