"""Rules for what a setting of a cloud or framework leaves open to everybody, or in clear."""

import ast
from collections.abc import Iterator
from typing import cast

from veilig.audit.engine.frame import Frame
from veilig.audit.engine.source import dotted
from veilig.audit.engine.state import constant
from veilig.audit.engine.value import Opaque, Ref, Seq, Value
from veilig.audit.finding import Confidence, Severity
from veilig.audit.rules.rule import AssignCheck, Rule
from veilig.audit.rules.sketch import Sketch

type Marks = Iterator[tuple[ast.AST, Confidence]]

# As the cloud's own interface spells them (boto3), and as Python wrappers do (CDK, Pulumi, azure).
_CLEAR_WHEN_FALSE = frozenset(
    {
        "StorageEncrypted", "Encrypted", "AtRestEncryptionEnabled", "TransitEncryptionEnabled",
        "storage_encrypted",
        "at_rest_encryption_enabled", "transit_encryption_enabled", "kms_encrypted", "encryption_at_rest",
        "EncryptionAtRestEnabled", "ClusterEncryptionEnabled", "https_traffic_only_enabled", "EnforceHTTPS",
        "supports_https_traffic_only", "enable_https_traffic_only", "RequireSSL", "require_ssl",
    }
)  # fmt: skip
_OPEN_WHEN_TRUE = frozenset(
    {
        "PubliclyAccessible", "publicly_accessible", "allow_blob_public_access", "AllowBlobPublicAccess",
        "public_network_access_enabled", "public_access_open",
        "public_read_access",
    }
)  # fmt: skip
_OPEN_WHEN_FALSE = frozenset(
    {
        "BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets",
        "block_public_acls",
        "ignore_public_acls", "block_public_policy", "restrict_public_buckets",
    }
)  # fmt: skip
_OPEN_VALUES = {
    "ACL": ("public-read", "public-read-write", "authenticated-read"),
    "acl": ("public-read", "public-read-write", "authenticated-read"),
    "predefined_acl": ("publicRead", "publicReadWrite", "authenticatedRead"),
    "predefinedAcl": ("publicRead", "publicReadWrite", "authenticatedRead"),
    "public_access": ("blob", "container"),
    "container_access_type": ("blob", "container"),
}
_ACCESS = {"public_access", "container_access_type"}


def _open(name: str, value: object) -> bool:
    if name in _OPEN_VALUES:
        return isinstance(value, str) and value in _OPEN_VALUES[name]
    return (value is True and name in _OPEN_WHEN_TRUE) or (value is False and name in _OPEN_WHEN_FALSE)


def _clear(name: str, value: object) -> bool:
    return value is False and name in _CLEAR_WHEN_FALSE


def _names_open(name: str) -> bool:
    return name in _OPEN_VALUES or name in _OPEN_WHEN_TRUE or name in _OPEN_WHEN_FALSE


def _keywords(sketch: Sketch) -> Iterator[tuple[ast.AST, str, object]]:
    """Literals given by keyword, to whatever is called."""
    for node in sketch.each(ast.keyword):
        if isinstance(node, ast.keyword) and node.arg and isinstance(node.value, ast.Constant):
            yield node.value, node.arg, cast("object", node.value.value)


def _left_open(sketch: Sketch) -> Marks:
    for node, name, value in _keywords(sketch):
        if _open(name, value) and (name not in _ACCESS or "azure" in sketch.text):
            yield node, Confidence.CERTAIN


def _in_clear(sketch: Sketch) -> Marks:
    for node, name, value in _keywords(sketch):
        if _clear(name, value):
            yield node, Confidence.CERTAIN


def _anybody(frame: Frame, _name: str, value: Value) -> bool:
    """Permissions of a REST framework that let everybody in."""
    held = frame.state.get(value) if isinstance(value, Ref) else None
    if not isinstance(held, Seq) or held.rest is not None:
        return False
    texts = [item.qual if isinstance(item, Opaque) else constant(item) for item in held.items]
    return not texts or any(isinstance(text, str) and text.endswith("AllowAny") for text in texts)


def _default_for_all(sketch: Sketch) -> Marks:
    """A settings dictionary of the REST framework that never says who may come in: everybody may."""
    for node in sketch.each(ast.Assign):
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Dict):
            continue
        if dotted(node.targets[0]) != "REST_FRAMEWORK" or None in node.value.keys:
            continue
        keys = [key.value for key in node.value.keys if isinstance(key, ast.Constant)]
        if "DEFAULT_PERMISSION_CLASSES" not in keys and _views_without(sketch):
            yield node, Confidence.POSSIBLE


def _views_without(sketch: Sketch) -> bool:
    return sketch.program.has(r"\((\w+\.)*(ModelViewSet|DestroyAPIView|\w*CreateAPIView)\b") and not (
        sketch.program.has(r"permission_classes|get_permissions")
    )


OPEN_STORE = Rule(
    id="cloud-open-to-all",
    cwe=732,
    title="open to everybody in the cloud",
    severity=Severity.HIGH,
    what="this setting lets everybody on the network reach what is stored",
    why="CWE-732: whoever knows or guesses the name reads it (CWE-284)",
    advice="keep it private; give single objects away with signed addresses",
    silent="private settings, settings nobody can know from the source",
    shape=_left_open,
    assigns=(AssignCheck(_names_open, lambda _frame, name, value: _open(name, constant(value))),),
    bad="import boto3\ndef put(path, bucket):\n"
    "    extra = {'ACL': 'public-read'}\n"
    "    boto3.client('s3').upload_file(path, bucket, 'report.csv', ExtraArgs=extra)\n",
    good="import boto3\ndef put(path, bucket):\n"
    "    extra = {'ACL': 'private'}\n"
    "    boto3.client('s3').upload_file(path, bucket, 'report.csv', ExtraArgs=extra)\n",
)

CLEAR_STORE = Rule(
    id="cloud-unencrypted",
    cwe=311,
    title="stored or sent in clear in the cloud",
    severity=Severity.MEDIUM,
    what="this setting switches encryption off",
    why="CWE-311: whoever gets at the disk, the snapshot or the line reads everything",
    advice="switch it on; most services cannot change it later",
    silent="settings that are on, settings nobody can know from the source",
    shape=_in_clear,
    assigns=(
        AssignCheck(
            lambda name: name in _CLEAR_WHEN_FALSE, lambda _frame, name, value: _clear(name, constant(value))
        ),
    ),
    bad="import boto3\ndef make(name):\n"
    "    return boto3.client('rds').create_db_instance(DBInstanceIdentifier=name, StorageEncrypted=False)\n",
    good="import boto3\ndef make(name):\n"
    "    return boto3.client('rds').create_db_instance(DBInstanceIdentifier=name, StorageEncrypted=True)\n",
)

EVERYBODY = Rule(
    id="rest-open-by-default",
    cwe=862,
    title="views open to everybody by default",
    severity=Severity.HIGH,
    what="views that say nothing about permissions answer everybody",
    why="CWE-862: one forgotten line on a view opens its records (CWE-306)",
    advice="DEFAULT_PERMISSION_CLASSES = [IsAuthenticated], and AllowAny on the few public views",
    silent="defaults that ask for a login",
    shape=_default_for_all,
    assigns=(AssignCheck(lambda name: name == "DEFAULT_PERMISSION_CLASSES", _anybody),),
    bad="REST_FRAMEWORK = {'DEFAULT_PERMISSION_CLASSES': ['rest_framework.permissions.AllowAny']}\n",
    good="REST_FRAMEWORK = {'DEFAULT_PERMISSION_CLASSES': ['rest_framework.permissions.IsAuthenticated']}\n",
)

RULES = (OPEN_STORE, CLEAR_STORE, EVERYBODY)
