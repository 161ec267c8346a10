cd /app && python3 - <<'PY'
text = open("billing.py").read()
text = text.replace("        client, hours, rate = line.split()\n", "        line = line.strip()\n        if not line or line.startswith(\"#\"):\n            continue\n        client, hours, rate = line.split()\n")
open("billing.py", "w").write(text)
PY
