import json, math, random
dice = random.Random(99)
def prime(bits):
    while True:
        p = dice.getrandbits(bits) | 1 | 1 << (bits - 1)
        if all(p % q for q in (3, 5, 7, 11, 13, 17, 19, 23)) and pow(2, p - 1, p) == 1 and pow(3, p - 1, p) == 1 and p % 65537 != 1:
            return p
primes = [prime(256) for _ in range(79)]
keys = []
for i in range(40):
    p, q = primes[2 * i % 79], primes[(2 * i + 1) % 79]
    keys.append({"device": f"d{i:02}", "n": str(p * q), "e": 65537})
n = int(keys[39]["n"])
m = int.from_bytes(b"replace unit-0417 today", "big")
json.dump(keys, open("/app/keys.json", "w"))
json.dump({"to": "d39", "c": str(pow(m, 65537, n))}, open("/app/message.json", "w"))
