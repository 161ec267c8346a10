"""Which instruction, section or key of a container or unit file is a slip away from one that exists?"""

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from veilig.audit.languages.language import is_dockerfile
from veilig.repair.recipes.nearest import nearest

type Word = tuple[str, int, str, str]  # path, offset, the word as written, the word that exists

# Docker's reference of the Dockerfile; the list of instructions is closed.
_INSTRUCTIONS = """
ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL MAINTAINER ONBUILD RUN SHELL STOPSIGNAL USER
VOLUME WORKDIR
"""
_INSTRUCTION = re.compile(r"^[ \t]*([A-Za-z]{2,12})(?=[ \t]+\S)", re.MULTILINE)
# systemd.unit(5), systemd.service(5), systemd.exec(5), systemd.timer(5): the keys that small units use.
_SECTIONS = frozenset({"Unit", "Service", "Install", "Timer", "Socket", "Path", "Mount"})
_KEYS = """
After Alias AmbientCapabilities Before BindsTo BusName CapabilityBoundingSet ConditionPathExists Conflicts
CPUQuota DefaultDependencies Description Documentation DynamicUser Environment EnvironmentFile ExecReload
ExecStart ExecStartPost ExecStartPre ExecStop ExecStopPost ExecCondition Group KillMode KillSignal
LimitNOFILE LimitNPROC LockPersonality MemoryMax Nice NoNewPrivileges OnBootSec OnCalendar OnFailure
OnUnitActiveSec PartOf Persistent PIDFile PrivateDevices PrivateTmp ProtectHome ProtectSystem
RandomizedDelaySec ReadOnlyPaths ReadWritePaths RemainAfterExit RequiredBy Requires Requisite Restart
RestartSec RestrictAddressFamilies RuntimeDirectory StandardError StandardInput StandardOutput
StartLimitBurst StartLimitIntervalSec StateDirectory SyslogIdentifier SystemCallFilter TasksMax TimeoutSec
TimeoutStartSec TimeoutStopSec Type UMask Unit User Wants WantedBy WatchdogSec WorkingDirectory
ListenStream ListenDatagram Accept
"""
_UNIT_LINE = re.compile(r"^(?:\[(\w+)\]|([A-Z]\w*)[ \t]*=)", re.MULTILINE)
_UNITS = (".service", ".timer", ".socket", ".path", ".mount")
# The Compose specification, keys of a service.
_SERVICE_KEYS = """
annotations attach blkio_config build cap_add cap_drop cgroup cgroup_parent command configs container_name
cpu_count cpu_percent cpus cpuset credential_spec depends_on deploy develop device_cgroup_rules devices
dns dns_opt dns_search domainname entrypoint env_file environment expose extends external_links
extra_hosts gpus group_add healthcheck hostname image init ipc isolation label_file labels links logging
mac_address mem_limit mem_reservation mem_swappiness memswap_limit models network_mode networks
oom_kill_disable oom_score_adj pid pids_limit platform ports post_start pre_stop privileged profiles
provider pull_policy read_only restart runtime scale secrets security_opt shm_size stdin_open
stop_grace_period stop_signal storage_opt sysctls tmpfs tty ulimits use_api_socket user userns_mode uts
volumes volumes_from working_dir
"""
_SERVICES = re.compile(
    r"^services:[ \t]*(?:#[^\n]*)?\n((?:[ \t]+[^\n]*\n|[ \t]*(?:#[^\n]*)?\n)*)", re.MULTILINE
)
_COMPOSE = re.compile(r"(docker-)?compose[\w.-]*\.ya?ml$")


def misspelt(files: Mapping[str, str]) -> Iterator[Word]:
    """Every word that its format does not know and that is a typing slip away from one it knows."""
    for path, text in files.items():
        name = PurePosixPath(path).name
        if is_dockerfile(path):
            yield from _dockerfile(path, text)
        elif name.endswith(_UNITS):
            yield from _unit(path, text)
        elif _COMPOSE.match(name):
            yield from _compose(path, text)


def _dockerfile(path: str, text: str) -> Iterator[Word]:
    if "<<" in text:
        return  # a here-document holds lines of another language
    known = frozenset(_INSTRUCTIONS.split())
    ends = {match.end() for match in re.finditer(r"\\[ \t]*\n(?:[ \t]*(?:#[^\n]*)?\n)*", text)}
    for match in _INSTRUCTION.finditer(text):
        word = match[1]
        if match.start() in ends or word.upper() in known:
            continue
        for other in nearest(word.upper(), known)[:1]:
            yield path, match.start(1), word, other


def _unit(path: str, text: str) -> Iterator[Word]:
    keys = frozenset(_KEYS.split())
    for match in _UNIT_LINE.finditer(text):
        group = 1 if match[1] else 2
        known = _SECTIONS if group == 1 else keys
        word = match[group]
        if word not in known and not word.startswith("X-"):
            for other in nearest(word, known)[:1]:
                yield path, match.start(group), word, other


def _compose(path: str, text: str) -> Iterator[Word]:
    services = _SERVICES.search(f"{text}\n")
    if services is None:
        return
    known = frozenset(_SERVICE_KEYS.split())
    rows = list(re.finditer(r"^( +)([A-Za-z_]\w*)[ \t]*:", services[1], re.MULTILINE))
    depths = sorted({len(row[1]) for row in rows})
    for row in rows:
        if len(depths) > 1 and len(row[1]) == depths[1] and row[2] not in known:
            for other in nearest(row[2], known)[:1]:
                yield path, services.start(1) + row.start(2), row[2], other
