names = ["José Núñez", "Zoë Müller", "Anna", "Søren Åberg", "François", "Łukasz Żak", "Ødegård", "Bo"]
right = "".join(f"{i},{names[i % 8]}\n" for i in range(64))
found = open("/app/clean.csv", "rb").read().decode("utf-8")
assert found == right, [pair for pair in zip(found.splitlines(), right.splitlines()) if pair[0] != pair[1]][:5]
