"""How is one more replica of a container described, and is what an engine made of it the same? Pure.

A copy has the same image by its digest, the same arguments, environment, mounts, labels, limits and rights;
what is not in these lists is not copied, and `differs` finds whether that, or the engine, made another thing.
"""

from collections.abc import Mapping
from typing import Any, cast

GROUP, MANAGED, MADE_BY = "veilig.group", "veilig.managed", "veilig.made_by"
_CONFIG = (
    "Cmd", "Entrypoint", "User", "WorkingDir", "Tty", "OpenStdin", "StopSignal", "StopTimeout", "Healthcheck",
    "ExposedPorts",
)  # fmt: skip
_HOST = (
    "Binds", "Tmpfs", "NetworkMode", "PortBindings", "RestartPolicy", "LogConfig", "CapAdd", "CapDrop",
    "SecurityOpt", "Privileged", "ReadonlyRootfs", "UsernsMode", "IpcMode", "PidMode", "UTSMode", "GroupAdd",
    "Devices", "Dns", "DnsOptions", "DnsSearch", "ExtraHosts", "Sysctls", "Init", "ShmSize", "Memory",
    "MemoryReservation", "MemorySwap", "NanoCpus", "CpuShares", "CpuPeriod", "CpuQuota", "CpusetCpus",
    "PidsLimit", "OomScoreAdj",
)  # fmt: skip
_SAME_HOST = ("NetworkMode", "Privileged", "PidMode", "UsernsMode", "ReadonlyRootfs", "Memory", "PidsLimit")


def part(container: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A mapping inside the description; {} when it is not there."""
    return cast(dict[str, Any], container.get(key) or {})


def why_not(container: Mapping[str, Any]) -> str:
    """Why there can be no second one of it; "" when there can."""
    host = part(container, "HostConfig")
    network = str(host.get("NetworkMode", ""))
    if network == "host" or network.startswith("container:"):
        return f"it has the network of {network.removeprefix('container:')}, where its ports are taken"
    for port, places in part(host, "PortBindings").items():
        for place in cast(list[dict[str, Any]], places or []):
            if place.get("HostPort") not in (None, "", "0"):
                return f"it publishes {port} at the fixed port {place['HostPort']} of the host"
    if host.get("PublishAllPorts"):
        return ""
    if len(part(part(container, "NetworkSettings"), "Networks")) > 1:
        return "it is on several networks"
    if host.get("VolumesFrom"):
        return "it has the volumes of another container"
    return ""


def copy_of(container: Mapping[str, Any], maker: str) -> dict[str, Any]:
    """The body of a create request for one more replica, which carries `maker` in its labels."""
    config, host = part(container, "Config"), part(container, "HostConfig")
    body: dict[str, Any] = {key: config[key] for key in _CONFIG if config.get(key)}
    body["Env"] = _environment(container)
    body["Image"] = container["Image"]
    body["Labels"] = {**part(config, "Labels"), MADE_BY: maker}
    wanted: dict[str, Any] = {key: host[key] for key in _HOST if host.get(key)}
    limits = cast(list[dict[str, Any]], host.get("Ulimits") or [])
    wanted["Ulimits"] = [
        {**one, "Name": str(one["Name"]).removeprefix("RLIMIT_").lower()} for one in limits
    ]  # podman tells them by another name than it takes them
    if not part(host, "RestartPolicy").get("Name"):
        wanted.pop("RestartPolicy", None)
    if not part(host, "LogConfig").get("Config"):
        wanted.pop("LogConfig", None)  # the engine's own choice, as it was for the first
    if host.get("PublishAllPorts"):
        wanted["PublishAllPorts"] = True
    body["HostConfig"] = wanted
    aliases = _aliases(container)
    if aliases:
        body["NetworkingConfig"] = {"EndpointsConfig": aliases}
    return body


def differs(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """In what a new replica is not as the one it was made from; "" when it is."""
    for key in ("Image", "Path", "Args"):
        if (first.get(key) or None) != (second.get(key) or None):
            return key.lower()
    if sorted(_environment(first)) != sorted(_environment(second)):
        return "environment"
    if _mounts(first) != _mounts(second):
        return "mounts"
    one, other = part(first, "HostConfig"), part(second, "HostConfig")
    for key in _SAME_HOST:
        if (one.get(key) or None) != (other.get(key) or None):
            return key
    for key in ("CapAdd", "CapDrop", "SecurityOpt", "Devices"):
        if sorted(map(str, one.get(key) or [])) != sorted(map(str, other.get(key) or [])):
            return key
    if (part(first, "Config").get("User") or "") != (part(second, "Config").get("User") or ""):
        return "user"
    return ""


def _environment(container: Mapping[str, Any]) -> list[str]:
    """Without the host name, which engines put there by themselves."""
    config = part(container, "Config")
    own = f"HOSTNAME={config.get('Hostname', '')}"
    return [str(line) for line in cast(list[object], config.get("Env") or []) if line != own]


def _mounts(container: Mapping[str, Any]) -> list[tuple[str, str, bool, str]]:
    """Where, of what kind, writable or not, and from where; an unnamed volume is each replica's own."""
    found: list[tuple[str, str, bool, str]] = []
    for one in cast(list[dict[str, Any]], container.get("Mounts") or []):
        kind = str(one.get("Type", ""))
        source = str(one.get("Source", "")) if kind == "bind" else ""
        found.append((str(one.get("Destination", "")), kind, bool(one.get("RW")), source))
    return sorted(found)


def _aliases(container: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The names by which the replicas share their load on a network, without the container's own."""
    short, name = str(container.get("Id", ""))[:12], str(container.get("Name", "")).removeprefix("/")
    found: dict[str, dict[str, Any]] = {}
    networks = part(part(container, "NetworkSettings"), "Networks")
    for network in networks:
        names = cast(list[str], part(networks, network).get("Aliases") or [])
        shared = [one for one in names if one not in (short, name)]
        if shared:
            found[network] = {"Aliases": shared}
    return found
