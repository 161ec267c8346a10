from pathlib import Path

wanted = ["bo 1250", "ines 1250", "van Dam, J. 1250", "ada 1"]
found = Path("/app/report.txt").read_text(encoding="utf-8").split("\n")
assert found in ([*wanted, ""], wanted), found
