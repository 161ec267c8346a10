lines = [row.strip() for row in open("/app/flag.txt", encoding="utf-8").read().splitlines() if row.strip()]
assert len(lines) <= 3, "at most three attempts"
assert 'replace unit-0417 today' in lines, lines
