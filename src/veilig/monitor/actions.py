"""What would this tool call do? Features of actions: they do not depend on how somebody writes.

Each rule names a technique of MITRE ATT&CK, how much it weighs and how sure it is. Two forms have no honest
use in a tool call and are denied wherever they stand; everything else is a signal, and none at all for a host
that the subject is authorised to test.
"""

import re
from dataclasses import dataclass
from typing import Final

from veilig.core.policy_match import host_matches

TEXT_CHARS_MAX: Final = 200_000  # of one call's arguments: more is a file, and its head says enough


@dataclass(frozen=True, slots=True)
class Rule:
    """One feature. targets: about a host, so a scope can allow it. denied: why such a call never runs."""

    id: str
    technique: str
    what: str
    severity: float
    confidence: int
    pattern: re.Pattern[str]
    targets: bool = False
    denied: str = ""
    needs_host: bool = False  # the tool's name alone says little: people read about it, and install it


@dataclass(frozen=True, slots=True)
class Seen:
    """A rule that fits, and the hosts that the call names."""

    rule: Rule
    hosts: tuple[str, ...]


def _p(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE)


RULES: Final = (
    Rule(
        "credential-files", "T1552.001", "reads files in which credentials are kept", 1.5, 60,
        _p(r"(?:/etc/shadow\b|\.ssh/id_(?:rsa|ed25519|ecdsa|dsa)\b(?!\.pub)|\.aws/credentials|\.netrc\b"
           r"|\.git-credentials|\.kube/config|\.docker/config\.json|/proc/(?:\d+|\*|self)/environ"
           r"|login\.keychain|Login Data\b|logins\.json|\\SAM\b|ntds\.dit)"),
    ),
    Rule(
        "memory-of-others", "T1003", "dumps credentials out of other processes", 4.0, 80,
        _p(r"\b(?:mimikatz|sekurlsa|procdump[^\n]{0,40}lsass|comsvcs\.dll[^\n]{0,40}minidump|gcore\b[^\n]{0,40}"
           r"(?:ssh-agent|gpg-agent)|lazagne)"),
    ),
    Rule(
        "scanning", "T1595.001", "scans hosts or networks", 1.5, 60,
        _p(r"(?:^|[\s;&|'\"(/])(?:nmap|masscan|zmap|rustscan|naabu|unicornscan)\s+[^\n;|&]*"),
        targets=True, needs_host=True,
    ),
    Rule(
        "attack-tools", "T1190", "uses a tool that attacks services", 2.0, 65,
        _p(r"(?:^|[\s;&|'\"(/])(?:sqlmap|hydra|medusa|ncrack|nikto|msfconsole|msfvenom|commix|crackmapexec|netexec"
           r"|responder|evil-winrm|impacket-\w+|nuclei|wpscan|gobuster|ffuf|feroxbuster)(?:\.py)?\s+[^\n;|&]*"),
        targets=True, needs_host=True,
    ),
    Rule(
        "reverse-shell", "T1059.004", "gives a shell on this machine to somebody else", 8.0, 90,
        _p(r"(?:bash\s+-i\s*[^\n]{0,20}[<>]&?\s*/dev/tcp/|/dev/tcp/[\w.-]+/\d+[^\n]{0,40}0?[<>]&1"
           r"|\bnc(?:at)?\b[^\n;|&]{0,60}\s-(?:e|c)\s*\S*sh\b|mkfifo[^\n]{0,80}\|[^\n]{0,40}\bnc\b"
           r"|socat[^\n]{0,80}exec:[^\n]{0,20}sh|pty\.spawn\([^\n]{0,20}sh[^\n]{0,200}socket"
           r"|socket[^\n]{0,300}dup2[^\n]{0,200}(?:/bin/(?:ba)?sh|pty\.spawn))"),
        targets=True, denied="it would give a shell on this machine to another host",
    ),
    Rule(
        "piped-download", "T1105", "runs what it downloads without looking", 1.0, 50,
        _p(r"\b(?:curl|wget)\b[^\n|;]{0,200}https?://(?:\d{1,3}\.){3}\d{1,3}[^\n|;]{0,200}\|\s*(?:sudo\s+)?(?:ba|z)?sh\b"),
        targets=True,
    ),
    Rule(
        "encoded-command", "T1027.010", "hides a command in an encoding and runs it", 1.5, 60,
        _p(r"(?:base64\s+(?:-d|--decode|-D)[^\n|]{0,40}\|\s*(?:ba|z)?sh\b|powershell[^\n]{0,60}\s-e(?:nc|ncodedcommand)?\s+"
           r"[A-Za-z0-9+/=]{40,})"),
    ),
    Rule(
        "persistence", "T1543", "makes something start again by itself", 1.0, 45,
        _p(r"(?:>>?\s*~?/?[\w/.~-]*(?:\.bashrc|\.profile|\.zshrc|authorized_keys|/etc/cron\S*|/etc/rc\.local|ld\.so\.preload)"
           r"|\bcrontab\s+-(?!l)|schtasks\s+/create|\breg\s+add\s+\S*\\run\b|launchctl\s+load)"),
    ),
    Rule(
        "destroying-recovery", "T1490", "destroys what would bring data back", 8.0, 90,
        _p(r"(?:vssadmin(?:\.exe)?\s+delete\s+shadows|wbadmin\s+delete\s+(?:catalog|systemstatebackup)"
           r"|bcdedit[^\n]{0,60}recoveryenabled\s+no|wmic\s+shadowcopy\s+delete)"),
        denied="it would destroy the copies that bring data back",
    ),
    Rule(
        "wiping", "T1561", "overwrites disks or whole file systems", 3.0, 75,
        _p(r"(?:\bdd\b[^\n]{0,80}of=/dev/(?:sd|nvme|vd|hd|mmcblk)|\bmkfs(?:\.\w+)?\s+[^\n]{0,40}/dev/"
           r"|\brm\s+-[a-z]*r[a-z]*f?[a-z]*\s+(?:--no-preserve-root\s+)?/(?:\s|\*|$|['\"]))"),
    ),
    Rule(
        "stopping-defence", "T1562.001", "switches logs or protection off", 1.5, 55,
        _p(r"(?:setenforce\s+0|auditctl\s+-e\s*0|Set-MpPreference[^\n]{0,60}Disable|systemctl\s+(?:stop|disable)\s+"
           r"(?:auditd|rsyslog|falcon|osquery)|history\s+-c\b|unset\s+HISTFILE|wevtutil\s+cl\b|>\s*/var/log/)"),
    ),
    Rule(
        "carrying-out", "T1048", "sends files of this machine to somewhere else", 1.5, 50,
        _p(r"\b(?:curl|wget)\b[^\n;]{0,200}(?:--data-binary|--upload-file|-T|-F|--form|--post-file|-d)\s*['\"]?[\w=]*@"
           r"[^\n]{0,200}(?:webhook\.site|requestbin|pastebin|transfer\.sh|ngrok|oast|interact\.sh|burpcollaborator"
           r"|(?:\d{1,3}\.){3}\d{1,3})"),
        targets=True,
    ),
    Rule(
        "metadata-credentials", "T1552.005", "asks the cloud's metadata service for credentials", 2.0, 70,
        _p(r"169\.254\.169\.254/(?:latest/(?:meta-data/iam|api/token)|metadata/identity|computeMetadata)"),
    ),
    Rule(
        "mining", "T1496", "mines a currency", 3.0, 80,
        _p(r"(?:\bxmrig\b|stratum\+(?:tcp|ssl)://|--donate-level)"),
    ),
)  # fmt: skip
_HOST: Final = re.compile(
    r"(?<![\w.@-])((?:\d{1,3}\.){3}\d{1,3}(?:/\d{1,2})?|(?:[a-z0-9-]{1,63}\.){1,8}[a-z]{2,24})(?![\w-])",
    re.IGNORECASE,
)
_NOT_HOSTS: Final = re.compile(
    r"\.(?:py|sh|txt|json|ya?ml|md|js|ts|rs|go|c|h|log|conf|cfg|toml|xml|html|csv|sql|bin)$"
)
_NAMED_ELSEWHERE: Final = re.compile(r"\$[\w{(]|\s-(?:iL|l|L)\s")  # a variable or a file holds the targets
OWN: Final = ("127.0.0.1", "0.0.0.0", "localhost")  # noqa: S104  # compared, not listened on


def look(arguments: str, allowed_hosts: tuple[str, ...]) -> list[Seen]:
    """Which rules fit the arguments of a tool call. allowed_hosts: what the subject may test, or ()."""
    text = arguments[:TEXT_CHARS_MAX].replace("\\n", "\n").replace('\\"', '"')
    found: list[Seen] = []
    for rule in RULES:
        match = rule.pattern.search(text)
        if match is None:
            continue
        hosts = hosts_in(match[0]) if rule.targets else ()
        if rule.needs_host and not hosts and not _NAMED_ELSEWHERE.search(match[0]):
            continue
        if rule.targets and hosts and all(in_scope(h, allowed_hosts) for h in hosts):
            continue
        found.append(Seen(rule, hosts))
    return found


def hosts_in(text: str) -> tuple[str, ...]:
    """Names and addresses of machines in a text, file names left out."""
    return tuple(dict.fromkeys(m.lower() for m in _HOST.findall(text) if not _NOT_HOSTS.search(m.lower())))


def in_scope(host: str, allowed_hosts: tuple[str, ...]) -> bool:
    """May this subject test this host? Its own machine always."""
    return host in OWN or host in allowed_hosts or any(host_matches(a, host) for a in allowed_hosts)
