"""How is the API of Kubernetes asked? The client library with a context of the kubeconfig, in a thread."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import parse_qsl

from veilig.core.errors import ProviderError
from veilig.core.service import Service

CONNECT_S, ANSWER_S = 3, 10
CHANGED = (409, 422)  # a stale resourceVersion; a JSON patch whose test fails
MERGE, STEPS = "application/merge-patch+json", "application/json-patch+json"


@dataclass(frozen=True, slots=True)
class Place:
    """A deployment, as one context sees it; "": the kubeconfig's current one."""

    namespace: str
    name: str
    context: str = ""

    @property
    def path(self) -> str:
        """What an act on its template names."""
        return f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{self.name}/template"


def contexts(service: Service) -> tuple[Place, Place | None]:
    """(who looks, who may act). Raises ProviderError for no deployment, or one context for both."""
    head, _, query = service.unit.partition("?")
    namespace, slash, name = head.partition("/")
    given, acts = dict(parse_qsl(query)), dict(parse_qsl(service.writer))
    wrong = given.keys() - {"context"} or acts.keys() - {"context"} or (service.writer and not acts)
    if not slash or not namespace or not name or "/" in name or wrong:
        raise ProviderError(
            f"{service.unit!r} names no deployment", why="NAMESPACE/NAME?context=C; writer: context=C"
        )
    looks = Place(namespace, name, given.get("context", ""))
    if not acts:
        return looks, None
    if acts["context"] == looks.context:
        raise ProviderError(
            f"{service.name} has one context to look and to act", fix="give the acting one its own"
        )
    return looks, Place(namespace, name, acts["context"])


class Refused(ProviderError):
    """The API answered, and said no. status: of HTTP."""

    def __init__(self, what: str, status: int, why: str) -> None:
        super().__init__(what, why=f"{status} {why}")
        self.status = status


class Api:
    """One client per context. kubeconfig: its path, "" for the usual place."""

    def __init__(self, kubeconfig: str) -> None:
        self._file = kubeconfig or None
        self._clients: dict[str, Any] = {}

    async def deployment(self, place: Place) -> dict[str, Any]:
        """As it is now. Raises Refused, ProviderError."""
        return await self._ask(place, "AppsV1Api", "read_namespaced_deployment", place.name, place.namespace)

    async def replica_sets(self, place: Place, deployment: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Its revisions."""
        labels = deployment["spec"]["selector"].get("matchLabels", {})
        selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
        answer = await self._ask(
            place, "AppsV1Api", "list_namespaced_replica_set", place.namespace, label_selector=selector
        )
        uid = deployment["metadata"]["uid"]
        return [one for one in answer.get("items", []) if uid in _owners(one)]

    async def change(
        self, place: Place, found: Mapping[str, Any], patch: dict[str, Any], *, template: bool = False
    ) -> None:
        """Patch it if nobody has changed it since `found`; template: `patch` is the whole of a new one."""
        version = found["metadata"]["resourceVersion"]
        if template:
            steps = [
                {"op": "test", "path": "/metadata/resourceVersion", "value": version},
                {"op": "replace", "path": "/spec/template", "value": patch},
            ]
            await self._patch(place, steps, STEPS)
            return
        fenced = {**patch, "metadata": {**patch.get("metadata", {}), "resourceVersion": version}}
        await self._patch(place, fenced, MERGE)

    async def may_change(self, place: Place) -> bool:
        """Asked, and tried by a dry run that changes an annotation: both must say yes."""
        spec = {
            "resourceAttributes": {
                "group": "apps", "resource": "deployments", "verb": "patch",
                "namespace": place.namespace, "name": place.name,
            }
        }  # fmt: skip
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec}
        answer = await self._ask(place, "AuthorizationV1Api", "create_self_subject_access_review", review)
        told = bool(answer.get("status", {}).get("allowed"))
        try:
            patch = {"metadata": {"annotations": {"veilig.tried": "1"}}}
            await self._patch(place, patch, MERGE, dry_run="All")
        except Refused as error:
            if error.status == 403:
                return False
            raise
        if not told:
            raise ProviderError(
                "the cluster contradicts itself", why="it refused in words and allowed in a trial"
            )
        return True

    async def _patch(self, place: Place, body: object, kind: str, **more: str) -> None:
        try:
            await self._ask(
                place, "AppsV1Api", "patch_namespaced_deployment",
                place.name, place.namespace, body, _content_type=kind, **more,
            )  # fmt: skip
        except Refused as error:
            if error.status in CHANGED:
                what = f"{place.name} was changed by somebody else meanwhile"
                raise Refused(what, error.status, "nothing was done") from error
            raise

    async def _ask(self, place: Place, group: str, method: str, *values: Any, **named: Any) -> dict[str, Any]:
        try:
            answer = await asyncio.to_thread(self._call, place, group, method, values, named)
        except ImportError as error:
            fix = "pip install 'veilig[kubernetes]'"
            raise ProviderError("kubernetes is not installed", why=str(error), fix=fix) from error
        status, text = answer
        try:
            told = json.loads(text)
        except ValueError as error:
            raise ProviderError("the cluster answers no JSON", why=text[:100]) from error
        if not isinstance(told, dict):
            raise ProviderError("the cluster answers no object", why=text[:100])
        found = cast(dict[str, Any], told)
        if status >= 400:
            raise Refused(f"the cluster refuses {method}", status, str(found.get("message", ""))[:200])
        return found

    def _call(
        self, place: Place, group: str, method: str, values: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[int, str]:
        """(status, body). In a thread. Raises ProviderError when nobody answers."""
        import urllib3
        from kubernetes import client, config

        library, configured = cast(Any, client), cast(Any, config)
        try:
            if place.context not in self._clients:
                self._clients[place.context] = configured.new_client_from_config(
                    self._file, context=place.context or None, persist_config=False
                )
            api: Any = getattr(library, group)(self._clients[place.context])
            asked: Callable[..., Any] = getattr(api, method)
            answer = asked(*values, **named, _preload_content=False, _request_timeout=(CONNECT_S, ANSWER_S))
            return int(answer.status), bytes(answer.data).decode("utf-8", "replace")
        except library.ApiException as error:
            return int(error.status or 500), str(error.body or "{}")
        except configured.ConfigException as error:
            raise ProviderError("the kubeconfig cannot be used", why=str(error)[:200]) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ProviderError("the cluster does not answer", why=str(error)[:200]) from error


def _owners(one: Mapping[str, Any]) -> list[str]:
    return [str(owner.get("uid")) for owner in one["metadata"].get("ownerReferences", [])]
