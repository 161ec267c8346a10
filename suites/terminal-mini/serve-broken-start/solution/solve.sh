cd /app
sed -i 's/confg/config/' start.sh
printf '{"greeting": "hello there", "port": 8410, "templates": "/app/templates"}\n' > config.json
setsid bash start.sh >/dev/null 2>&1 < /dev/null &
for i in $(seq 100); do python3 -c "import urllib.request as u; u.urlopen('http://127.0.0.1:8410/')" 2>/dev/null && break; sleep 0.1; done
