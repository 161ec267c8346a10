import random
dice = random.Random(2)
out = open("/app/access.log", "w")
for i in range(5000):
    ip = f"10.1.{dice.randint(0, 3)}.{dice.randint(1, 250)}"
    status = dice.choice([200, 200, 200, 304, 404])
    size = 0 if status == 304 else dice.randint(200, 900000)
    if i % 50 == 7:
        ip, status, size = "10.1.2.99", 206, 65536 + i
    if i % 61 == 3:
        ip, status, size = f"10.1.9.{i % 7}", 206, dice.randint(1000, 30000)
    path = dice.choice(["/a.css", "/img/x.png", f"/dl/{i}.bin", "/"])
    shown = size or "-"
    out.write(f'{ip} - - [02/Mar/2026:10:{i // 60 % 60:02}:{i % 60:02} +0000] "GET {path} HTTP/1.1" {status} {shown} "-" "curl/8 206 {i}"\n')
