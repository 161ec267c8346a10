cd /app && python3 - <<'PY'
import json, math
people = json.load(open("users.json"))
times = {}
for line in open("access.log"):
    parts = line.split()
    if len(parts) != 6 or not (parts[4].isdigit() and parts[5].isdigit()) or int(parts[4]) >= 500:
        continue
    if parts[1] in people:
        times.setdefault(people[parts[1]], []).append(int(parts[5]))
json.dump({n: sorted(v)[math.ceil(0.95 * len(v)) - 1] for n, v in times.items() if len(v) >= 5}, open("slow.json", "w"))
PY
