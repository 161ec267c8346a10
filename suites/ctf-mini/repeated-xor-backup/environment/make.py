text = "[database]\nhost = db.internal\nport = 5432\nuser = service\n\n[safety]\nrecovery_code = tulip-4417-amber\nrotate_days = 30\n" + "# padding\n" * 30
key = b"Kb3!vQz9"
open("/app/backup.bin", "wb").write(bytes(b ^ key[i % len(key)] for i, b in enumerate(text.encode())))
