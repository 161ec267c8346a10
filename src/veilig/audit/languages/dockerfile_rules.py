"""Which weaknesses are looked for in Dockerfiles?"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from veilig.audit.finding import Confidence, Severity
from veilig.audit.languages.dockerfile import Dockerfile, Instruction, place
from veilig.audit.languages.rule import LanguageRule, Place

SECRET = re.compile(
    r"(?:passw(?:or)?d|passwd|secret|token|api_?key|private_?key|credentials?)$", re.IGNORECASE
)
HARMLESS = re.compile(
    r"^$|^\$|change|example|xxx|your|dummy|<|^(true|false|none|null|\d+)$|^/", re.IGNORECASE
)


def _runs(pattern: str, words: tuple[str, ...] = ("RUN",)) -> Callable[[Dockerfile], Iterator[Place]]:
    wanted = re.compile(pattern, re.DOTALL)

    def find(file: Dockerfile) -> Iterator[Place]:
        for one in file.of(*words):
            match = wanted.search(one.text)
            if match is not None:
                yield place(one, " ".join(match[0].split())[:60])

    return find


def _root(file: Dockerfile) -> Iterator[Place]:
    users = [i for i in file.of("USER") if i.stage == file.last_stage]
    start = [i for i in file.of("FROM") if i.stage == file.last_stage]
    base = start[0].text.split()
    image = next((w for w in base if not w.startswith("--")), "")
    if not users:
        runs = any(i.stage == file.last_stage for i in file.of("CMD", "ENTRYPOINT"))
        named = any(image == i.text.split()[-1] for i in file.of("FROM") if " as " in i.text.lower())
        if runs and not named and not re.search(r"nonroot|rootless|unprivileged|^scratch$", image):
            yield replace(place(start[0], "no USER"), confidence=Confidence.CERTAIN)
    elif re.match(r"(root|0)(:|$)", users[-1].text):
        yield place(users[-1], users[-1].text)


def _images(file: Dockerfile) -> Iterator[tuple[Instruction, str]]:
    stages = {
        i.text.split()[-1].lower() for i in file.of("FROM") if re.search(r"\sas\s", i.text, re.IGNORECASE)
    }
    for one in file.of("FROM"):
        image = next((w for w in one.text.split() if not w.startswith("--")), "")
        if image and image.lower() not in stages and image != "scratch" and "$" not in image:
            yield one, image


def _moving(file: Dockerfile) -> Iterator[Place]:
    for one, image in _images(file):
        if "@sha256:" in image:
            continue
        name = image.rpartition("/")[2]
        if ":" not in name or name.endswith(":latest"):
            yield place(one, image)
        else:
            yield replace(place(one, f"{image} without a digest"), confidence=Confidence.PATTERN)


def _secrets(file: Dockerfile) -> Iterator[Place]:
    for one in file.of("ENV", "ARG"):
        pairs = re.findall(r"([A-Za-z_]\w*)=(\"[^\"]*\"|'[^']*'|\S*)", one.text)
        if not pairs and one.word == "ENV":
            name, _, value = one.text.partition(" ")
            pairs = [(name, value)]
        for name, value in pairs:
            plain = value.strip("\"' ")
            if SECRET.search(name) and not HARMLESS.search(plain):
                yield place(one, name)


def _files(file: Dockerfile) -> Iterator[Place]:
    wanted = re.compile(
        r"(?:^|/)(?:\.env(?:\.\w+)?|id_(?:rsa|ed25519|ecdsa)|\.ssh/?|\.aws/?|\.npmrc|\.pypirc|\.netrc|\.git/?|[\w.-]+\.(?:pem|key|p12|pfx|jks))$"
    )
    for one in file.of("COPY", "ADD"):
        sources = [w for w in one.argv()[:-1] if not w.startswith("--")]
        if "--from=" in one.text:
            continue
        for source in sources:
            if wanted.search(source) and not source.endswith((".env.example", ".pub")):
                yield place(one, source)


def _remote_add(file: Dockerfile) -> Iterator[Place]:
    for one in file.of("ADD"):
        if re.search(r"https?://", one.text) and "--checksum=" not in one.text:
            yield place(one, one.text.split()[0][:60])


def _ports(file: Dockerfile) -> Iterator[Place]:
    for one in file.of("EXPOSE"):
        if any(re.match(r"(22|23|2375|3389)(/tcp)?$", w) for w in one.text.split()):
            yield place(one, one.text)


_R = LanguageRule[Dockerfile]
_FROM = "FROM python:3.13.1-slim\n"
_USER = 'USER app\nCMD ["python", "-m", "app"]\n'
RULES = (
    _R("docker-root", 250, "Container runs as root", Severity.MEDIUM, "the image's last user is root",
       "A break-out, or a mounted folder, is then root's.", "Make a user and name it with USER before CMD.",
       bad=_FROM + "CMD [\"python\", \"-m\", \"app\"]\n", good=_FROM + "RUN useradd app\n" + _USER, find=_root),
    _R("docker-moving-image", 1357, "Base image moves", Severity.LOW, "the base image is named without a version",
       "The next build is another program, and nobody reviewed it.", "Name a version, better its digest.",
       bad="FROM python:latest\n" + _USER, good="FROM python:3.13.1-slim@sha256:" + "a" * 64 + "\n" + _USER, find=_moving),
    _R("docker-piped-download", 494, "Download run unseen", Severity.HIGH, "what is downloaded is run at once",
       "Who holds the server, or the way to it, decides what is in the image.", "Download, compare a checksum, then run.",
       bad=_FROM + "RUN curl -fsSL https://get.example.com | sh\n" + _USER,
       good=_FROM + "RUN curl -fsSLo i.sh https://get.example.com && echo \"$SUM i.sh\" | sha256sum -c && sh i.sh\n" + _USER,
       find=_runs(r"\b(?:curl|wget)\b[^;&\n]*\|\s*(?:sudo\s+)?(?:ba|da|z)?sh\b|\b(?:ba)?sh\s+(?:-c\s+)?[\"']?(?:<\(|\$\()\s*(?:curl|wget)")),
    _R("docker-remote-add", 494, "ADD from the network", Severity.MEDIUM, "ADD fetches a file without a checksum",
       "Whatever the address serves on the day of the build becomes part of the image.", "Give ADD --checksum=sha256:...",
       bad=_FROM + "ADD https://example.com/tool.tgz /opt/\n" + _USER,
       good=_FROM + "ADD --checksum=sha256:" + "a" * 64 + " https://example.com/tool.tgz /opt/\n" + _USER, find=_remote_add),
    _R("docker-secret-in-image", 798, "Secret in the image", Severity.HIGH, "ENV or ARG holds a secret",
       "Everybody who may pull the image reads it in its history.", "Use RUN --mount=type=secret, or give it at start.",
       bad=_FROM + "ENV DB_PASSWORD=correct-horse-42\n" + _USER, good=_FROM + "ENV DB_PASSWORD_FILE=/run/secrets/db\n" + _USER,
       find=_secrets),
    _R("docker-private-file", 538, "Private file copied", Severity.HIGH, "a file that holds keys is copied into the image",
       "It stays in the layer even when a later one removes it.", "Name it in .dockerignore; mount it as a secret.",
       bad=_FROM + "COPY .env /app/.env\n" + _USER, good=_FROM + "COPY app/ /app/\n" + _USER, find=_files),
    _R("docker-open-mode", 732, "Anybody may write", Severity.MEDIUM, "files are made writable for everybody",
       "A process of any user changes what the others run.", "Give 755, or COPY --chown to the user.",
       bad=_FROM + "RUN chmod -R 777 /app\n" + _USER, good=_FROM + "RUN chmod -R 755 /app\n" + _USER,
       find=_runs(r"chmod\s+(?:-\w+\s+)*(?:0?777|a\+\w*w\w*|o\+\w*w\w*|ugo\+\w*w\w*)\b")),
    _R("docker-unsigned-package", 347, "Package without signature", Severity.HIGH, "packages are installed without checking signatures",
       "A changed package becomes part of the image.", "Install the repository's key and remove the option.",
       bad=_FROM + "RUN apt-get install -y --allow-unauthenticated tool\n" + _USER, good=_FROM + "RUN apt-get install -y tool\n" + _USER,
       find=_runs(r"--allow-unauthenticated|--force-yes|--nogpgcheck|--no-gpg-checks|--allow-untrusted|\[trusted=yes\]")),
    _R("docker-certificate-unchecked", 295, "Certificate not checked", Severity.HIGH, "TLS accepts any certificate",
       "Anybody on the way decides what is in the image.", "Remove the setting; add the private authority's certificate.",
       bad=_FROM + "RUN curl -k https://example.com/x -o x\n" + _USER, good=_FROM + "RUN curl https://example.com/x -o x\n" + _USER,
       find=_runs(
           r"\bcurl\s(?:[^|;&\n]*\s)?(?:-[a-zA-Z]*k[a-zA-Z]*|--insecure)(?=\s|$)|--no-check-certificate|--trusted-host|"
           r"strict-ssl\s*=?\s*false|sslVerify[= ]\"?false|NODE_TLS_REJECT_UNAUTHORIZED[= ]\"?0|PYTHONHTTPSVERIFY[= ]\"?0|GIT_SSL_NO_VERIFY[= ]\"?(?:1|true)",
           ("RUN", "ENV"))),
    _R("docker-sudo", 250, "sudo in the image", Severity.MEDIUM, "somebody may become root without a password",
       "Naming another user then protects nothing.", "Do what needs root before USER.",
       bad=_FROM + "RUN echo 'app ALL=(ALL) NOPASSWD: ALL' >> /etc/sudoers\n" + _USER, good=_FROM + "RUN useradd app\n" + _USER,
       find=_runs(r"NOPASSWD:\s*ALL|chpasswd|passwd\s+-d\s+root|chmod\s+(?:u?\+s|4755)\s")),
    _R("docker-remote-login", 1327, "Door for remote login", Severity.MEDIUM, "the image exposes ssh, telnet, remote desktop or the Docker socket",
       "A container is entered through its runtime; another door needs its own keys and updates.", "Remove it; use exec of the runtime.",
       bad=_FROM + "EXPOSE 22\n" + _USER, good=_FROM + "EXPOSE 8080\n" + _USER, find=_ports),
    _R("docker-debug", 489, "Debug mode in the image", Severity.MEDIUM, "the image starts in debug mode",
       "Debug pages run code or show secrets to whoever reaches the port.", "Set it from outside, where it is wanted.",
       bad=_FROM + "ENV FLASK_DEBUG=1\n" + _USER, good=_FROM + "ENV FLASK_DEBUG=0\n" + _USER,
       find=_runs(r"\b(?:FLASK_DEBUG|DJANGO_DEBUG|APP_DEBUG)[= ]\"?(?:1|true|True)|\bFLASK_ENV[= ]\"?development", ("ENV",))),
    _R("docker-plain-download", 319, "Program fetched without TLS", Severity.MEDIUM, "a program or archive is fetched over plain http",
       "Anybody on the way can change it.", "Use https and compare a checksum.",
       bad=_FROM + "RUN wget http://example.com/tool.tgz\n" + _USER, good=_FROM + "RUN wget https://example.com/tool.tgz\n" + _USER,
       find=_runs(r"\b(?:curl|wget)\b[^|;&\n]*\shttp://(?!localhost|127\.)\S+", ("RUN",))),
)  # fmt: skip
