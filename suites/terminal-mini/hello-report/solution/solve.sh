#!/bin/bash
set -eu
python3 - <<'PY'
import collections, csv

totals = collections.Counter()
for row in csv.DictReader(open("/app/orders.csv")):
    if row["status"] == "paid":
        totals[row["customer"]] += int(row["cents"])
with open("/app/report.txt", "w") as file:
    for name, cents in sorted(totals.items(), key=lambda pair: (-pair[1], pair[0])):
        file.write(f"{name} {cents}\n")
PY
