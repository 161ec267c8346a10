cd /app && python3 - <<'PY'
text = open("tally.py").read()
text = text.replace("totals = {}\n", "totals = {}\n_lock = threading.Lock()\n")
text = text.replace("""    before = totals.get(word, 0)
    time.sleep(0)
    totals[word] = before + seen
""", """    with _lock:
        totals[word] = totals.get(word, 0) + seen
""").replace("import time\n", "")
open("tally.py", "w").write(text)
PY
