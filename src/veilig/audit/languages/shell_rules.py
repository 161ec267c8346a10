"""Which weaknesses are looked for in shell scripts?"""

import re
from collections.abc import Iterator

from veilig.audit.finding import Confidence, Severity
from veilig.audit.languages.grammar import field, text_of
from veilig.audit.languages.rule import LanguageRule, Place
from veilig.audit.languages.shell import Command, Shell, expands, in_pipeline_after, quoted

SHELLS = ("sh", "bash", "zsh", "dash", "ksh", "python", "python3", "perl", "ruby", "node")
GIVEN = re.compile(r"\$\{?[1-9@*]|\$\{?(?:QUERY_STRING|REQUEST_URI|HTTP_\w+|SSH_ORIGINAL_COMMAND)\b")
SECRET = re.compile(r"passw(?:or)?d|passwd|secret|token|api_?key|private_?key", re.IGNORECASE)
PLACEHOLDER = re.compile(
    r"^$|^\$|change|example|xxx|your|todo|dummy|<|^(true|false|none|null|no|yes|\d)$|^/|\.\w{2,4}$",
    re.IGNORECASE,
)


def _evals(shell: Shell) -> Iterator[Place]:
    for command in shell.named("eval"):
        if any(GIVEN.search(w) for w in command.words) or _read_from(shell, command):
            yield shell.place(command.node, Confidence.POSSIBLE, " ".join(command.words)[:60])
        elif any(expands(a) for a in command.args):
            yield shell.place(command.node, Confidence.PATTERN)
    for command in shell.named("sh", "bash"):
        if command.has("-c") and any(GIVEN.search(w) and not w.startswith("'") for w in command.words[:2]):
            yield shell.place(command.node, Confidence.POSSIBLE, "sh -c")


def _read_from(shell: Shell, command: Command) -> bool:
    names = {w for c in shell.named("read") for w in c.words if not w.startswith("-")}
    return any(re.search(rf"\$\{{?{re.escape(n)}\b", w) for n in names for w in command.words)


def _piped(shell: Shell) -> Iterator[Place]:
    for command in shell.named(*SHELLS, "source", "."):
        before = in_pipeline_after(command.node)
        if before is not None and re.match(r"\s*(?:sudo\s+)?(?:curl|wget|fetch)\b", text_of(before)):
            yield shell.place(command.node, Confidence.CERTAIN, command.name)
    for command in shell.named(*SHELLS, "eval", "source", "."):
        if any(re.search(r"[<$]\(\s*(?:curl|wget)\b", w) for w in command.words):
            yield shell.place(command.node, Confidence.CERTAIN, command.name)


def _unchecked(shell: Shell) -> Iterator[Place]:
    for command in shell.commands:
        if (command.name == "curl" and command.has("-k", "--insecure")) or (
            command.name == "wget" and command.has("--no-check-certificate")
        ):
            yield shell.place(command.node, Confidence.CERTAIN, command.name)
        elif command.name == "git" and re.search(
            r"http\.sslVerify[= ]\"?(?:false|0)", " ".join(command.words)
        ):
            yield shell.place(command.node, Confidence.CERTAIN, "git")
        elif command.name in ("pip", "pip3") and command.has("--trusted-host"):
            yield shell.place(command.node, Confidence.CERTAIN, "pip")
        elif command.name in ("npm", "yarn") and re.search(
            r"strict-ssl\s*=?\s*false", " ".join(command.words)
        ):
            yield shell.place(command.node, Confidence.CERTAIN, command.name)
    for node in shell.of("variable_assignment"):
        if re.fullmatch(
            r"(GIT_SSL_NO_VERIFY=[\"']?(1|true)[\"']?|(NODE_TLS_REJECT_UNAUTHORIZED|PYTHONHTTPSVERIFY)=[\"']?0[\"']?)",
            text_of(node),
        ):
            yield shell.place(node, Confidence.CERTAIN, text_of(node).partition("=")[0])


def _host_keys(shell: Shell) -> Iterator[Place]:
    for command in shell.named("ssh", "scp", "sftp", "rsync", "autossh", "sshfs"):
        if re.search(
            r"StrictHostKeyChecking[= ]\"?(?:no|off)|UserKnownHostsFile[= ]\"?/dev/null",
            " ".join(command.words),
            re.IGNORECASE,
        ):
            yield shell.place(command.node, Confidence.CERTAIN, command.name)


def _modes(shell: Shell) -> Iterator[Place]:
    for command in shell.named("chmod"):
        if any(
            re.fullmatch(r"0?[0-7]?[0-7][0-7][2367]|(?:a|o|ugo|)\+[rx]*w[rx]*|[0o]?777", w)
            and not w.startswith("+")
            for w in command.words
        ):
            yield shell.place(command.node, Confidence.CERTAIN, " ".join(command.words)[:60])
    for command in shell.named("umask"):
        if command.words and re.fullmatch(r"0?0?0?0", command.words[0]):
            yield shell.place(command.node, Confidence.CERTAIN, "umask 0")


def _temporary(shell: Shell) -> Iterator[Place]:
    for node in shell.of("redirected_statement"):
        for child in node.named_children:
            target = field(child, "destination") if child.type == "file_redirect" else None
            if (
                target is not None
                and re.match(r"\"?/(?:var/)?tmp/[\w.${}\"-]+$", text_of(target))
                and "<" not in text_of(child)[:2]
            ):
                yield shell.place(child, Confidence.CERTAIN, text_of(target))
    for command in shell.named("mktemp"):
        if command.has("-u", "--dry-run"):
            yield shell.place(command.node, Confidence.CERTAIN, "mktemp -u")


def _removals(shell: Shell) -> Iterator[Place]:
    careful = re.search(r"^\s*set\s+-\w*u|set -o nounset", "\n".join(shell.lines), re.MULTILINE)
    for command in shell.named("rm"):
        if not command.has("-r", "-R", "--recursive"):
            continue
        for word in command.words:
            if (
                re.fullmatch(r"\"?\$(?:\{\w+\}|\w+)\"?/?(?:\*|\"/\*)?", word)
                and word.rstrip('"').endswith(("/", "*"))
                and not careful
            ):
                yield shell.place(command.node, Confidence.CERTAIN, word)
                break


def _written(shell: Shell) -> Iterator[Place]:
    for node in shell.of("variable_assignment"):
        name, value = text_of(field(node, "name")), field(node, "value")
        if not SECRET.search(name) or re.search(
            r"file|path|dir|name|url|len|cmd|_id$|prompt", name, re.IGNORECASE
        ):
            continue
        if value is None or expands(value):
            continue
        text = text_of(value).strip("'\"")
        if len(text) >= 6 and not PLACEHOLDER.search(text):
            yield shell.place(node, Confidence.CERTAIN, name)
    for command in shell.commands:
        joined = " ".join(command.words)
        if command.name in ("mysql", "mysqldump", "mariadb") and re.search(
            r"(?:^| )(?:-p[^\s$\"]{4,}|--password=['\"]?[^\s$\"'])", joined
        ):
            yield shell.place(command.node, Confidence.CERTAIN, f"{command.name} -p")
        elif command.name == "curl" and re.search(r"(?:-u|--user)[ =]['\"]?[\w.@-]+:[^\s$'\"]{4,}", joined):
            yield shell.place(command.node, Confidence.CERTAIN, "curl -u")
        elif command.name == "sshpass" and re.search(r"-p ?['\"]?[^\s$'\"]{4,}", joined):
            yield shell.place(command.node, Confidence.CERTAIN, "sshpass -p")


def _visible(shell: Shell) -> Iterator[Place]:
    for command in shell.commands:
        if command.name in ("echo", "printf", "export", "read", "local", "test", "["):
            continue
        for word in command.words:
            if (
                re.match(r"--?(?:password|passwd|token|secret|api-?key)=\"?\$", word, re.IGNORECASE)
                and command.name != "docker"
            ):
                yield shell.place(command.node, Confidence.CERTAIN, word.partition("=")[0])
                break


def _unquoted(shell: Shell) -> Iterator[Place]:
    risky = (
        "rm",
        "mv",
        "cp",
        "find",
        "tar",
        "ssh",
        "scp",
        "rsync",
        "git",
        "xargs",
        "sed",
        "awk",
        "curl",
        "wget",
        "chmod",
        "chown",
    )
    for command in shell.named(*risky):
        for arg in command.args:
            if not quoted(arg) and GIVEN.search(text_of(arg)) and '"' not in text_of(arg):
                yield shell.place(command.node, Confidence.POSSIBLE, text_of(arg))
                break


def _sourced(shell: Shell) -> Iterator[Place]:
    for command in shell.named("source", "."):
        if command.words and GIVEN.search(command.words[0]):
            yield shell.place(command.node, Confidence.POSSIBLE, command.words[0])
        elif command.words and re.match(r"\"?/tmp/", command.words[0]):
            yield shell.place(command.node, Confidence.CERTAIN, command.words[0])


def _unsigned(shell: Shell) -> Iterator[Place]:
    for command in shell.named("apt-get", "apt", "yum", "dnf", "zypper", "pacman", "rpm", "apk", "gpg"):
        if command.has(
            "--allow-unauthenticated",
            "--force-yes",
            "--nogpgcheck",
            "--no-gpg-checks",
            "--nosignature",
            "--allow-untrusted",
        ):
            yield shell.place(command.node, Confidence.CERTAIN, command.name)


def _rights(shell: Shell) -> Iterator[Place]:
    for command in shell.named("echo", "printf", "tee"):
        whole = text_of(command.node.parent) if command.node.parent is not None else ""
        if "NOPASSWD:" in " ".join(command.words) and re.search(
            r"NOPASSWD:\s*ALL", whole + " ".join(command.words)
        ):
            yield shell.place(command.node, Confidence.CERTAIN, "NOPASSWD: ALL")
    for command in shell.named("docker", "podman", "nerdctl"):
        if command.words[:1] == ("run",) and (
            command.has("--privileged")
            or re.search(r"docker\.sock:|-v /:/|--pid[= ]host", " ".join(command.words))
        ):
            yield shell.place(command.node, Confidence.CERTAIN, f"{command.name} run")
    for command in shell.named("chmod"):
        if any(re.fullmatch(r"[ug]?\+s|[2467][0-7]{3}", w) for w in command.words[:1]):
            yield shell.place(command.node, Confidence.CERTAIN, "setuid")


def _nested(shell: Shell) -> Iterator[Place]:
    for command in shell.named("xargs", "find"):
        text = " ".join(command.words)
        if re.search(r"(?:sh|bash) -c ['\"][^'\"]*\{\}", text):
            yield shell.place(command.node, Confidence.POSSIBLE, "{} inside sh -c")


def _plain(shell: Shell) -> Iterator[Place]:
    for command in shell.named("curl", "wget"):
        for word in command.words:
            if re.match(r"['\"]?http://(?!localhost|127\.|\[::1\]|169\.254\.|\$)", word) and re.search(
                r"\.(?:sh|deb|rpm|tgz|tar|gz|zip|whl|jar|bin|py|exe|gpg|asc|key)\b", word
            ):
                yield shell.place(command.node, Confidence.CERTAIN, word[:60])
                break


_R = LanguageRule[Shell]
RULES = (
    _R("sh-eval", 78, "Words run as code", Severity.HIGH, "eval or sh -c runs words that the caller decides",
       "A word like $(...) or ; runs commands with the script's rights.", "Call the command with its arguments as \"$@\".",
       bad="#!/bin/bash\neval \"run $1\"\n", good="#!/bin/bash\nrun \"$1\"\n", find=_evals),
    _R("sh-piped-download", 494, "Download run unseen", Severity.HIGH, "what is downloaded is run at once",
       "Who holds the server, or the way to it, runs commands here.", "Download, compare a checksum or signature, then run.",
       bad="curl -fsSL https://get.example.com/install.sh | sudo bash\n",
       good="curl -fsSLo install.sh https://get.example.com/install.sh\necho \"$SUM  install.sh\" | sha256sum -c && bash install.sh\n",
       find=_piped),
    _R("sh-certificate-unchecked", 295, "Certificate not checked", Severity.HIGH, "TLS accepts any certificate",
       "Anybody on the way can read and change what is sent.", "Remove the option; give --cacert for a private authority.",
       bad="curl -sSk https://api.example.com/data\n", good="curl -sS --cacert ca.pem https://api.example.com/data\n",
       find=_unchecked),
    _R("sh-host-key-unchecked", 322, "Host key not checked", Severity.MEDIUM, "ssh accepts any host key",
       "Anybody who answers in the host's place gets the session.", "Keep known_hosts with the script; use accept-new at most.",
       bad="ssh -o StrictHostKeyChecking=no deploy@host uptime\n", good="ssh -o UserKnownHostsFile=known_hosts deploy@host uptime\n",
       find=_host_keys),
    _R("sh-open-mode", 732, "Anybody may write", Severity.MEDIUM, "files are made writable for everybody",
       "Any account of the machine changes what others will run or read.", "Give 755, 644 or a group.",
       bad="chmod -R 777 /srv/app\n", good="chmod -R 755 /srv/app\n", find=_modes),
    _R("sh-predictable-temporary", 377, "Predictable temporary file", Severity.MEDIUM, "a file in /tmp has a name that can be guessed",
       "Somebody else makes it first, as a link to a file of yours.", "Use \"$(mktemp)\".",
       bad="dump > /tmp/report.$$\n", good="out=$(mktemp)\ndump > \"$out\"\n", find=_temporary),
    _R("sh-removal-of-unset", 665, "Removal below a variable that may be empty", Severity.MEDIUM,
       "rm -r gets a variable that nothing keeps from being empty", "Empty, it removes everything from the root on.",
       "Write ${DIR:?} or set -u.",
       bad="rm -rf $BUILD/\n", good="rm -rf \"${BUILD:?}\"/\n", find=_removals),
    _R("sh-password-written", 798, "Password in the script", Severity.HIGH, "a password is written in the script",
       "Who reads the script has it; it cannot be changed in one place.", "Read it from the environment or a secret store.",
       bad="DB_PASSWORD='correct-horse-42'\n", good="DB_PASSWORD=$(cat /run/secrets/db)\n", find=_written),
    _R("sh-password-visible", 214, "Password on the command line", Severity.LOW, "a secret is given as an argument",
       "Every account sees the arguments of running programs.", "Give it by standard input, file or environment.",
       bad="client --password=\"$PW\" --host db\n", good="client --password-file=/run/secrets/db --host db\n", find=_visible),
    _R("sh-unquoted-argument", 88, "Argument falls apart", Severity.LOW, "an argument of the caller is used without quotes",
       "Blanks and stars in it become further arguments, and a leading dash an option.", "Write -- \"$1\".",
       bad="rm -f $1\n", good="rm -f -- \"$1\"\n", find=_unquoted),
    _R("sh-sourced-file", 829, "Foreign file run in this shell", Severity.MEDIUM, "source reads a file that somebody else decides",
       "The file runs with the script's rights.", "Read values with a parser, from a path that only the owner may write.",
       bad="source \"$1\"\n", good="source /etc/app/settings.sh\n", find=_sourced),
    _R("sh-unsigned-package", 347, "Package without signature", Severity.HIGH, "a package manager is told not to check signatures",
       "A changed package is installed as root.", "Install the repository's key and remove the option.",
       bad="apt-get install -y --allow-unauthenticated tool\n", good="apt-get install -y tool\n", find=_unsigned),
    _R("sh-too-many-rights", 250, "More rights than needed", Severity.HIGH, "somebody gets the rights of root",
       "One mistake in what runs with them takes the machine.", "Grant single commands, capabilities or mounts.",
       bad="echo 'ci ALL=(ALL) NOPASSWD: ALL' >> /etc/sudoers\n", good="echo 'ci ALL=(root) NOPASSWD: /usr/bin/systemctl' >> /etc/sudoers.d/ci\n",
       find=_rights),
    _R("sh-name-in-command", 78, "File names run as code", Severity.MEDIUM, "file names are put into the text of sh -c",
       "A file called $(...) runs.", "Pass them as arguments: sh -c '... \"$1\"' _ {}.",
       bad="find . -name '*.log' -exec sh -c 'gzip {}' \\;\n", good="find . -name '*.log' -exec gzip {} \\;\n", find=_nested),
    _R("sh-plain-download", 319, "Program fetched without TLS", Severity.MEDIUM, "a program or archive is fetched over plain http",
       "Anybody on the way can change it.", "Use https, or compare a checksum kept elsewhere.",
       bad="wget http://mirror.example.com/tool.tgz\n", good="wget https://mirror.example.com/tool.tgz\n", find=_plain),
)  # fmt: skip
