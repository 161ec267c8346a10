import random
dice = random.Random(1)
rows = []
for i in range(4000):
    t = i * 20
    ip = f"198.51.100.{dice.randint(1, 200)}"
    user = dice.choice(["root", "admin", "ann", "bo"])
    rows.append((t, f"Failed password for {user} from {ip} port {dice.randint(1025, 60000)} ssh2"))
for user, ip, begin in (("ann", "192.0.2.10", 9000), ("bo", "192.0.2.11", 30000)):
    for i in range(19):
        rows.append((begin + i * 30, f"Failed password for {user} from {ip} port 4{i:03} ssh2"))
    rows.append((begin + 700, f"Accepted password for {user} from {ip} port 5000 ssh2"))
for i in range(60):
    rows.append((50000 + i * 300, f"Failed password for deploy from 203.0.113.5 port 4{i:03} ssh2"))
rows.append((50000 + 60 * 300, "Accepted publickey for deploy from 203.0.113.5 port 5001 ssh2"))
for i in range(23):
    rows.append((61000 + i * 25, f"Failed password for backup from 203.0.113.77 port 4{i:03} ssh2"))
rows.append((61590, "Accepted password for backup from 203.0.113.77 port 5002 ssh2"))
for t, text in sorted(rows):
    open("/app/auth.log", "a").write(f"Mar {1 + t // 86400:2} {t // 3600 % 24:02}:{t // 60 % 60:02}:{t % 60:02} host sshd[{t % 9999}]: {text}\n")
