"""Which weaknesses are looked for in Kubernetes manifests?"""

import re
from collections.abc import Callable, Iterator

from veilig.audit.finding import Confidence, Severity
from veilig.audit.languages.rule import LanguageRule, Place
from veilig.audit.languages.yamltree import Item, Yaml

SECRET = re.compile(r"passw(?:or)?d|secret|token|api_?key|private_?key", re.IGNORECASE)
STORE_PORTS = frozenset(["22", "3306", "5432", "6379", "27017", "9200", "2379", "11211", "5984"])
HARMLESS = re.compile(
    r"^$|^\$|change|example|xxx|your|dummy|<|\{\{|^(true|false|none|null|\d+)$|^/", re.IGNORECASE
)


def _objects(file: Yaml) -> Iterator[Item]:
    """Every object, those inside a List too."""
    for document in file.documents:
        if document.get("kind").text == "List":
            yield from document.get("items").each()
        else:
            yield document


def _pods(file: Yaml) -> Iterator[Item]:
    """Every pod's spec, wherever it is."""
    for one in _objects(file):
        kind = one.get("kind").text
        spec = one.get("spec")
        if kind == "Pod":
            yield spec
        elif kind == "CronJob":
            yield spec.get("jobTemplate", "spec", "template", "spec")
        elif spec.get("template", "spec"):
            yield spec.get("template", "spec")


def _containers(file: Yaml) -> Iterator[Item]:
    for pod in _pods(file):
        for key in ("containers", "initContainers"):
            yield from pod.get(key).each()


def _context(key: str, value: str) -> Callable[[Yaml], Iterator[Place]]:
    def find(file: Yaml) -> Iterator[Place]:
        for one in _containers(file):
            item = one.get("securityContext", key)
            if item.text.lower() == value:
                yield item.place()

    return find


def _root(file: Yaml) -> Iterator[Place]:
    for pod in _pods(file):
        for holder in (pod, *pod.get("containers").each(), *pod.get("initContainers").each()):
            context = holder.get("securityContext")
            if context.get("runAsUser").text == "0":
                yield context.get("runAsUser").place()
            elif context.get("runAsNonRoot").off:
                yield context.get("runAsNonRoot").place()
        named = pod.get("securityContext", "runAsNonRoot").on or pod.get("securityContext", "runAsUser")
        for one in pod.get("containers").each():
            own = one.get("securityContext", "runAsNonRoot") or one.get("securityContext", "runAsUser")
            if not named and not own:
                yield one.get("name").place(Confidence.PATTERN, "no runAsNonRoot")


def _host(file: Yaml) -> Iterator[Place]:
    for pod in _pods(file):
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            if pod.get(key).on:
                yield pod.get(key).place(detail=key)


def _mounts(file: Yaml) -> Iterator[Place]:
    for pod in _pods(file):
        for volume in pod.get("volumes").each():
            path = volume.get("hostPath", "path")
            if re.search(
                r"^/$|docker\.sock|containerd|^/(?:etc|root|proc|var/run|run|boot|dev|sys|home|var/lib/kubelet)\b",
                path.text,
            ):
                yield path.place(detail=path.text)
            elif path.text:
                yield path.place(Confidence.PATTERN, path.text)


def _capabilities(file: Yaml) -> Iterator[Place]:
    strong = {
        "ALL",
        "SYS_ADMIN",
        "NET_ADMIN",
        "SYS_PTRACE",
        "SYS_MODULE",
        "DAC_READ_SEARCH",
        "BPF",
        "SYS_RAWIO",
    }
    for one in _containers(file):
        for item in one.get("securityContext", "capabilities", "add").each():
            if item.text.upper().removeprefix("CAP_") in strong:
                yield item.place(detail=item.text)


def _images(file: Yaml) -> Iterator[Place]:
    for one in _containers(file):
        image = one.get("image")
        name = image.text.rpartition("/")[2]
        if image.text and "@sha256:" not in name and "{{" not in image.text and "$" not in image.text:
            moving = ":" not in name or name.endswith(":latest")
            yield from [image.place(detail=image.text)] if moving else []


def _limits(file: Yaml) -> Iterator[Place]:
    for pod in _pods(file):
        for one in pod.get("containers").each():
            if not one.get("resources", "limits", "memory"):
                yield one.get("name").place(Confidence.PATTERN, "no memory limit")


def _secrets(file: Yaml) -> Iterator[Place]:
    for one in _containers(file):
        for variable in one.get("env").each():
            value = variable.get("value")
            name = variable.get("name").text
            elsewhere = re.search(r"(?:FILE|PATH|NAME|URL)$", name)
            if SECRET.search(name) and not elsewhere and not HARMLESS.search(value.text):
                yield value.place(detail=name)
    for one in _objects(file):
        if one.get("kind").text == "ConfigMap":
            for key, value in one.get("data").items():
                if SECRET.search(key) and len(value.text) < 200 and not HARMLESS.search(value.text):
                    yield value.place(detail=key)


def _rights(file: Yaml) -> Iterator[Place]:
    for one in _objects(file):
        kind = one.get("kind").text
        if kind in ("Role", "ClusterRole"):
            for rule in one.get("rules").each():
                if "*" in rule.get("verbs").texts and "*" in rule.get("resources").texts:
                    yield rule.get("verbs").place(detail="every verb on everything")
                elif "*" in rule.get("verbs").texts and "secrets" in rule.get("resources").texts:
                    yield rule.get("verbs").place(detail="every verb on secrets")
        elif kind in ("ClusterRoleBinding", "RoleBinding"):
            strong = one.get("roleRef", "name").text == "cluster-admin"
            for subject in one.get("subjects").each():
                name = subject.get("name")
                if name.text in ("system:anonymous", "system:unauthenticated", "system:authenticated") or (
                    strong and name.text == "default"
                ):
                    yield name.place(detail=name.text)
                    break
            else:
                if strong:
                    yield one.get("roleRef", "name").place(detail="cluster-admin")


def _plain_ingress(file: Yaml) -> Iterator[Place]:
    for one in _objects(file):
        if one.get("kind").text == "Ingress" and one.get("spec") and not one.get("spec", "tls"):
            local = any(
                r.get("host").text.endswith((".local", ".internal", "localhost"))
                for r in one.get("spec", "rules").each()
            )
            if not local:
                yield one.get("spec").place(Confidence.CERTAIN, "no tls")


def _profiles(file: Yaml) -> Iterator[Place]:
    for pod in _pods(file):
        for holder in (pod, *pod.get("containers").each()):
            kind = holder.get("securityContext", "seccompProfile", "type")
            if kind.text == "Unconfined":
                yield kind.place(detail="seccomp")
            mount = holder.get("securityContext", "procMount")
            if mount.text == "Unmasked":
                yield mount.place(detail="procMount")
    for one in _objects(file):
        for key, item in one.get("metadata", "annotations").items():
            if "apparmor" in key and item.text == "unconfined":
                yield item.place(detail="AppArmor")


def _services(file: Yaml) -> Iterator[Place]:
    for one in _objects(file):
        spec = one.get("spec")
        if one.get("kind").text == "APIService" and spec.get("insecureSkipTLSVerify").on:
            yield spec.get("insecureSkipTLSVerify").place()
        for key, item in one.below():
            if (
                re.search(r"insecure-?skip-?(?:tls-?)?verify$", key, re.IGNORECASE)
                and item.on
                and key != "insecureSkipTLSVerify"
            ):
                yield item.place(detail=key)


def _open_services(file: Yaml) -> Iterator[Place]:
    for one in _objects(file):
        if one.get("kind").text != "Service" or one.get("spec", "type").text not in (
            "LoadBalancer",
            "NodePort",
        ):
            continue
        for port in one.get("spec", "ports").each():
            limited = one.get("spec", "loadBalancerSourceRanges")
            if port.get("port").text in STORE_PORTS and not limited:
                yield port.get("port").place(detail=f"port {port.get('port').text}")


def _tokens(file: Yaml) -> Iterator[Place]:
    for pod in _pods(file):
        account = pod.get("serviceAccountName").text
        if (
            pod.get("containers")
            and account in ("", "default")
            and not pod.get("automountServiceAccountToken")
        ):
            yield pod.get("containers").place(Confidence.PATTERN, "the default account's token is mounted")
        if pod.get("automountServiceAccountToken").on and account in ("", "default"):
            yield pod.get("automountServiceAccountToken").place()


def _pod(container: str = "", pod: str = "", image: str = "shop/api:1.4.2") -> str:
    return (
        "apiVersion: v1\nkind: Pod\nmetadata: { name: api }\nspec:\n"
        f"{pod}  containers:\n    - name: api\n      image: {image}\n{container}"
    )


_SAFE = (
    "      resources: { limits: { memory: 1Gi } }\n"
    "      securityContext: { runAsNonRoot: true, allowPrivilegeEscalation: false }\n"
)
_GOOD = _pod(_SAFE, "  automountServiceAccountToken: false\n")
_HEAD = "apiVersion: rbac.authorization.k8s.io/v1\n"
_R = LanguageRule[Yaml]
RULES = (
    _R("k8s-privileged", 250, "Privileged container", Severity.HIGH, "a container is privileged",
       "It has the node's devices and capabilities: who is in it has the node.", "Remove it; add the one capability that is needed.",
       bad=_pod("      securityContext: { privileged: true }\n"), good=_GOOD, find=_context("privileged", "true")),
    _R("k8s-escalation", 250, "Rights can grow", Severity.MEDIUM, "a process may gain more rights than its parent",
       "A setuid program in the image makes anybody root.", "Set allowPrivilegeEscalation: false.",
       bad=_pod("      securityContext: { allowPrivilegeEscalation: true }\n"), good=_GOOD, find=_context("allowPrivilegeEscalation", "true")),
    _R("k8s-root", 250, "Container runs as root", Severity.MEDIUM, "a container runs as root",
       "A break-out, or a mounted folder, is then root's.", "Set runAsNonRoot: true and a user above 10000.",
       bad=_pod("      securityContext: { runAsUser: 0 }\n"), good=_GOOD, find=_root),
    _R("k8s-host-namespace", 653, "Namespaces of the node", Severity.HIGH, "a pod shares network, processes or memory of the node",
       "It reads the traffic and the environment of everything on the node.", "Remove it; use a Service.",
       bad=_pod(pod="  hostNetwork: true\n"), good=_GOOD, find=_host),
    _R("k8s-host-path", 668, "Folder of the node mounted", Severity.HIGH, "a pod mounts a sensitive folder of the node",
       "The container runtime's socket or /etc is the node itself.", "Use a volume claim, or an emptyDir.",
       bad=_pod(pod="  volumes: [{ name: s, hostPath: { path: /var/run/docker.sock } }]\n"), good=_GOOD, find=_mounts),
    _R("k8s-capabilities", 250, "Strong capability", Severity.HIGH, "a container gets a capability that is as good as root",
       "SYS_ADMIN mounts, SYS_PTRACE reads other processes, NET_ADMIN takes over the network.", "Drop ALL and add what is needed.",
       bad=_pod("      securityContext: { capabilities: { add: [SYS_ADMIN] } }\n"),
       good=_pod("      securityContext: { capabilities: { drop: [ALL], add: [NET_BIND_SERVICE] } }\n"), find=_capabilities),
    _R("k8s-moving-image", 1357, "Image moves", Severity.LOW, "an image is named without a version",
       "Pods of one deployment run different programs, and nobody reviewed the new one.", "Name a version, better its digest.",
       bad=_pod(image="shop/api:latest"), good=_GOOD, find=_images),
    _R("k8s-no-limit", 770, "No memory limit", Severity.LOW, "a container has no memory limit",
       "One request that grows takes the node's other pods with it.", "Give resources.limits.memory.",
       bad=_pod(), good=_GOOD, find=_limits),
    _R("k8s-secret-written", 798, "Secret in a manifest", Severity.HIGH, "a secret stands in env or a ConfigMap",
       "Who reads the repository or the object has it.", "Use valueFrom.secretKeyRef, filled from a secret store.",
       bad=_pod("      env: [{ name: DB_PASSWORD, value: correct-horse-42 }]\n"),
       good=_pod("      env: [{ name: DB_PASSWORD, valueFrom: { secretKeyRef: { name: db, key: password } } }]\n"), find=_secrets),
    _R("k8s-all-rights", 269, "Role with every right", Severity.HIGH, "a role or binding gives every right",
       "Who takes one pod of that account takes the cluster.", "List the verbs and resources that are used.",
       bad=_HEAD + "kind: ClusterRole\nmetadata: { name: r }\nrules: [{ apiGroups: ['*'], resources: ['*'], verbs: ['*'] }]\n",
       good=_HEAD + "kind: Role\nmetadata: { name: r }\nrules: [{ apiGroups: [''], resources: [pods], verbs: [get, list] }]\n", find=_rights),
    _R("k8s-plain-ingress", 319, "Ingress without TLS", Severity.MEDIUM, "an Ingress has no tls section",
       "Sessions and passwords cross the network readable.", "Add spec.tls with a certificate.",
       bad="apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: { name: i }\nspec: { rules: [{ host: shop.example.com }] }\n",
       good="apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: { name: i }\nspec: { tls: [{ secretName: t }], rules: [{ host: shop.example.com }] }\n",
       find=_plain_ingress),
    _R("k8s-unconfined", 693, "Confinement switched off", Severity.MEDIUM, "seccomp, AppArmor or the mask of /proc is off",
       "The kernel's rarely used calls are where break-outs are found.", "Use RuntimeDefault.",
       bad=_pod("      securityContext: { seccompProfile: { type: Unconfined } }\n"),
       good=_pod("      securityContext: { seccompProfile: { type: RuntimeDefault } }\n"), find=_profiles),
    _R("k8s-certificate-unchecked", 295, "Certificate not checked", Severity.HIGH, "a connection inside the cluster accepts any certificate",
       "Any pod that answers in its place is believed.", "Give caBundle.",
       bad="apiVersion: apiregistration.k8s.io/v1\nkind: APIService\nmetadata: { name: a }\nspec: { insecureSkipTLSVerify: true }\n",
       good="apiVersion: apiregistration.k8s.io/v1\nkind: APIService\nmetadata: { name: a }\nspec: { caBundle: Zm9v }\n", find=_services),
    _R("k8s-open-store", 668, "Data store open to the outside", Severity.HIGH, "a database or ssh port is published outside the cluster",
       "Everybody may try passwords, or use the flaw of the week.", "Use ClusterIP, or loadBalancerSourceRanges.",
       bad="apiVersion: v1\nkind: Service\nmetadata: { name: db }\nspec: { type: LoadBalancer, ports: [{ port: 5432 }] }\n",
       good="apiVersion: v1\nkind: Service\nmetadata: { name: db }\nspec: { type: ClusterIP, ports: [{ port: 5432 }] }\n", find=_open_services),
    _R("k8s-default-token", 522, "Token mounted without need", Severity.LOW, "the default account's token is mounted",
       "Who is in the container can ask the cluster's API with it.", "Set automountServiceAccountToken: false.",
       bad=_pod(pod="  automountServiceAccountToken: true\n"), good=_GOOD, find=_tokens),
)  # fmt: skip
