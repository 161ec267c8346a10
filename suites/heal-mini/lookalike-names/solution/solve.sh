#!/bin/bash
cd /app/services/worker-1
setsid python3 /app/svc.py worker-1 8501 >/dev/null 2>&1 < /dev/null &
for i in $(seq 100); do python3 -c "import urllib.request as u; u.urlopen('http://127.0.0.1:8501/')" 2>/dev/null && break; sleep 0.1; done
