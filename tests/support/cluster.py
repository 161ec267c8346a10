"""A STAND-IN for the API server of Kubernetes: some endpoints over real HTTP, with tokens, RBAC and versions.

It is no Kubernetes (none installs here): what it knows of its rules is what this file says. Deployments,
their ReplicaSets, merge and JSON patches fenced by resourceVersion, dry runs, SelfSubjectAccessReview, and a
controller that makes a revision of each new template; pods of an image named "bad" are never ready.
"""

import copy
import json
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

REVISION = "deployment.kubernetes.io/revision"
RIGHTS = {"t-look": {"get", "list"}, "t-act": {"get", "list", "patch"}, "t-loose": {"get", "list", "patch"}}


class Cluster:
    """`config` is a kubeconfig with the contexts look, act and loose, all of one server."""

    def __init__(self, folder: Path) -> None:
        self.lock = threading.RLock()
        self.deployments: dict[str, dict[str, Any]] = {}
        self.sets: dict[str, list[dict[str, Any]]] = {}
        self.patches: list[tuple[str, bool]] = []  # (token, dry run)
        self._version = 100
        self.gone = False
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
                pass

            def _go(self) -> None:
                if cluster.gone:
                    self.close_connection = True
                    return
                data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                token = str(self.headers.get("Authorization", "")).removeprefix("Bearer ")
                body = json.loads(data) if data else None
                kind = str(self.headers.get("Content-Type", ""))
                with cluster.lock:
                    status, answer = cluster.answer(self.command, self.path, token, body, kind)
                text = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_PATCH = do_POST = _go  # noqa: N815  # the base class's names

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.config = folder / "kubeconfig"
        names = [token.removeprefix("t-") for token in RIGHTS]
        url = f"http://127.0.0.1:{self.server.server_address[1]}"
        told = {
            "apiVersion": "v1", "kind": "Config", "current-context": "look",
            "clusters": [{"name": "one", "cluster": {"server": url}}],
            "users": [{"name": name, "user": {"token": f"t-{name}"}} for name in names],
            "contexts": [{"name": name, "context": {"cluster": "one", "user": name}} for name in names],
        }  # fmt: skip
        self.config.write_text(json.dumps(told))

    def close(self) -> None:
        if self.gone:
            return
        self.gone = True
        self.server.shutdown()
        self.server.server_close()

    # --- what people do -------------------------------------------------------------------------------

    def deploy(self, name: str, image: str, replicas: int = 2) -> None:
        with self.lock:
            labels = {"app": name}
            template = {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "c", "image": image}]},
            }
            found = self.deployments.get(name)
            if found is None:
                found = self.deployments[name] = {
                    "metadata": {
                        "name": name, "namespace": "shop", "uid": f"uid-{name}", "generation": 0,
                        "labels": {"veilig.managed": "true"}, "annotations": {}, "creationTimestamp": _now(),
                    },
                    "spec": {"replicas": replicas, "selector": {"matchLabels": labels}},
                    "status": {},
                }  # fmt: skip
            found["spec"]["template"] = template
            self._control(found)

    def set(self, name: str, **spec: Any) -> None:
        """As a person edits it."""
        with self.lock:
            self.deployments[name]["spec"] |= spec
            self._control(self.deployments[name])

    # --- the controller and the API ---------------------------------------------------------------------

    def _control(self, found: dict[str, Any]) -> None:
        meta, spec = found["metadata"], found["spec"]
        sets = self.sets.setdefault(meta["name"], [])
        current = next((one for one in sets if one["plain"] == spec["template"]), None)
        newest = max((int(one["metadata"]["annotations"][REVISION]) for one in sets), default=0)
        if current is None:
            current = cast(dict[str, Any], {
                "plain": copy.deepcopy(spec["template"]),
                "metadata": {
                    "name": f"{meta['name']}-{newest + 1}", "ownerReferences": [{"uid": meta["uid"]}],
                    "creationTimestamp": _now(), "annotations": {REVISION: str(newest + 1)},
                },
                "spec": {"template": copy.deepcopy(spec["template"])},
                "status": {},
            })  # fmt: skip
            current["spec"]["template"]["metadata"]["labels"]["pod-template-hash"] = str(newest + 1)
            sets.append(current)
        elif int(current["metadata"]["annotations"][REVISION]) < newest:
            current["metadata"]["annotations"][REVISION] = str(newest + 1)
        bad = "bad" in json.dumps(spec["template"])
        for one in sets:
            one["status"] = {"readyReplicas": spec["replicas"] if one is current and not bad else 0}
        self._version += 1
        meta["generation"] += 1
        meta["resourceVersion"] = str(self._version)
        meta["annotations"][REVISION] = current["metadata"]["annotations"][REVISION]
        found["status"] = {
            "observedGeneration": meta["generation"], "replicas": spec["replicas"],
            "updatedReplicas": spec["replicas"], "readyReplicas": 0 if bad else spec["replicas"],
        }  # fmt: skip

    def answer(self, verb: str, target: str, token: str, body: Any, kind: str) -> tuple[int, Any]:
        if token not in RIGHTS:
            return _no(401, "Unauthorized")
        parts = urlsplit(target)
        if verb == "POST" and parts.path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews":
            wanted = body["spec"]["resourceAttributes"]["verb"]
            return 201, {**body, "status": {"allowed": wanted in RIGHTS[token]}}
        *_, resource, name = ["", *parts.path.removeprefix("/apis/apps/v1/namespaces/shop/").split("/")]
        if verb == "GET" and name == "replicasets":
            every = [one for sets in self.sets.values() for one in sets]
            return 200, {"items": [{k: v for k, v in one.items() if k != "plain"} for one in every]}
        if resource != "deployments" or name not in self.deployments:
            return _no(404, f'deployments.apps "{name}" not found')
        if verb == "GET":
            return 200, self.deployments[name]
        if "patch" not in RIGHTS[token]:
            return _no(403, f'deployments.apps "{name}" is forbidden: cannot patch')
        return self._patch(name, token, body, kind, dry="dryRun=All" in parts.query)

    def _patch(self, name: str, token: str, body: Any, kind: str, *, dry: bool) -> tuple[int, Any]:
        found = copy.deepcopy(self.deployments[name])
        version = found["metadata"]["resourceVersion"]
        if "json-patch" in kind:
            for step in body:
                *way, last = step["path"].strip("/").split("/")
                at = found
                for part in way:
                    at = at[part]
                if step["op"] == "test" and at[last] != step["value"]:
                    return _no(422, "the server rejected our request due to an error in our request")
                at[last] = step["value"]
        else:
            if body.get("metadata", {}).get("resourceVersion", version) != version:
                return _no(
                    409, "the object has been modified; please apply your changes to the latest version"
                )
            _merge(found, body)
        self.patches.append((token, dry))
        if not dry:
            self.deployments[name] = found
            self._control(found)
        return 200, found


def _merge(into: dict[str, Any], patch: dict[str, Any]) -> None:
    for key, value in patch.items():
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = copy.deepcopy(value)


def _no(code: int, message: str) -> tuple[int, Any]:
    return code, {"kind": "Status", "status": "Failure", "code": code, "message": message}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
