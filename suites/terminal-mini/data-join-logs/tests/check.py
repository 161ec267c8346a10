import json
import math

people = json.load(open("/app/users.json"))
assert people["10.0.0.77"] == "eve"
times = {}
for line in open("/app/access.log"):
    parts = line.split()
    if len(parts) != 6 or not parts[4].isdigit() or not parts[5].isdigit() or int(parts[4]) >= 500:
        continue
    if parts[1] in people:
        times.setdefault(people[parts[1]], []).append(int(parts[5]))
right = {
    name: sorted(values)[math.ceil(0.95 * len(values)) - 1] for name, values in times.items() if len(values) >= 5
}
assert len(right) == 4
assert json.load(open("/app/slow.json")) == right, right
