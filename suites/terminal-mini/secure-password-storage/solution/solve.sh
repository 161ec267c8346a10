cd /app && python3 - <<'PY'
text = open("accounts.py").read()
text = text.replace("import hashlib\nimport json\nimport pathlib\n", "import hashlib\nimport hmac\nimport json\nimport os\nimport pathlib\n")
text = text.replace("""    accounts[name] = hashlib.md5(password.encode()).hexdigest()
    pathlib""", """    accounts[name] = _stored(password)
    pathlib""")
head, _, _ = text.partition("def sign_in")
text = head + '''def _stored(password, salt=None):
    salt = salt or os.urandom(16)
    key = hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1)
    return f"scrypt${salt.hex()}${key.hex()}"


def sign_in(path, name, password):
    """Whether that is the password of the account; an account in the old form is stored in the new one."""
    accounts = _read(path)
    kept = accounts.get(name)
    if kept is None:
        return False
    if kept.startswith("scrypt$"):
        return hmac.compare_digest(kept, _stored(password, bytes.fromhex(kept.split("$")[1])))
    if not hmac.compare_digest(kept, hashlib.md5(password.encode()).hexdigest()):
        return False
    accounts[name] = _stored(password)
    pathlib.Path(path).write_text(json.dumps(accounts))
    return True
'''
open("accounts.py", "w").write(text)
PY
