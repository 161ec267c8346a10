"""Which weaknesses are looked for in Terraform files?"""

import re
from collections.abc import Callable, Iterator

from veilig.audit.finding import Confidence, Severity
from veilig.audit.languages.rule import LanguageRule, Place
from veilig.audit.languages.terraform import Block, Terraform, Value

type Find = Callable[[Terraform], Iterator[Place]]

EVERYWHERE = re.compile(r"\"(?:0\.0\.0\.0/0|::/0)\"|^\"?(?:\*|any|internet)\"?$", re.IGNORECASE)
SECRET = re.compile(
    r"(?:passw(?:or)?d|secret|token|api_?key|access_key|private_key|connection_string)$", re.IGNORECASE
)
HARMLESS = re.compile(
    r"^$|change|example|xxx|your|dummy|<|^(true|false|none|null|\d+)$|^arn:|^/|^projects/", re.IGNORECASE
)
STORES = (
    "aws_db_instance",
    "aws_rds_cluster",
    "aws_ebs_volume",
    "aws_efs_file_system",
    "aws_redshift_cluster",
    "aws_docdb_cluster",
    "aws_neptune_cluster",
)


def _is(types: tuple[str, ...], path: tuple[str, ...], *values: str, missing: bool = False) -> Find:
    """Resources whose attribute has one of these values (or, as a pattern, is not given)."""

    def find(file: Terraform) -> Iterator[Place]:
        for block in file.resources(*types):
            value = block.find(*path)
            if value is not None and value.text in values:
                yield file.at(value, f"{path[-1]} = {value.text}")
            elif value is None and missing:
                yield file.at(block, f"no {path[-1]}", Confidence.PATTERN)

    return find


def _both(*finds: Find) -> Find:
    def find(file: Terraform) -> Iterator[Place]:
        for one in finds:
            yield from one(file)

    return find


def _rules_of(file: Terraform) -> Iterator[tuple[Block, Value]]:
    for group in file.resources("aws_security_group", "aws_default_security_group"):
        for rule in group.blocks("ingress"):
            for name in ("cidr_blocks", "ipv6_cidr_blocks"):
                if (sources := rule.get(name)) is not None:
                    yield rule, sources
    for rule in file.resources("aws_security_group_rule", "aws_vpc_security_group_ingress_rule"):
        kind = rule.get("type")
        for name in ("cidr_blocks", "ipv6_cidr_blocks", "cidr_ipv4", "cidr_ipv6"):
            if (sources := rule.get(name)) is not None and (kind is None or kind.text == "ingress"):
                yield rule, sources
    for rule in file.resources("google_compute_firewall"):
        direction, sources = rule.get("direction"), rule.get("source_ranges")
        if sources is not None and (direction is None or direction.text == "ingress"):
            for allow in rule.blocks("allow"):
                yield allow, sources
    for rule in [*file.resources("azurerm_network_security_rule"), *_azure_rules(file)]:
        access, direction, sources = (
            rule.get("access"),
            rule.get("direction"),
            rule.get("source_address_prefix"),
        )
        if (
            sources is not None
            and access is not None
            and access.text == "allow"
            and (direction is None or direction.text == "inbound")
        ):
            yield rule, sources


def _azure_rules(file: Terraform) -> Iterator[Block]:
    for group in file.resources("azurerm_network_security_group"):
        yield from group.blocks("security_rule")


def _ports(rule: Block) -> set[int]:
    """The first and last port a rule opens; both ends of everything when it names none."""
    found: set[int] = set()
    for name in ("from_port", "to_port", "ports", "destination_port_range", "destination_port_ranges"):
        value = rule.get(name)
        if value is not None:
            found |= {int(n) for n in re.findall(r"\d{1,5}", value.source)}
            if "*" in value.source:
                found |= {0, 65535}
    return found or {0, 65535}


def _open_ports(file: Terraform) -> Iterator[Place]:
    for rule, sources in _rules_of(file):
        if not EVERYWHERE.search(sources.source):
            continue
        ports = _ports(rule)
        low, high = min(ports), max(ports)
        single = len(ports) <= 2 and high - low <= 1
        if single and low in (80, 443, 8080, 8443):
            continue
        named = {22, 3389, 3306, 5432, 1433, 6379, 27017, 9200, 2375, 2379, 11211, 5985, 5986, 23, 445}
        strong = any(low <= port <= high for port in named)
        yield file.at(sources, f"ports {low}-{high}", Confidence.CERTAIN if strong else Confidence.PATTERN)


def _public_buckets(file: Terraform) -> Iterator[Place]:
    yield from _is(
        ("aws_s3_bucket", "aws_s3_bucket_acl"),
        ("acl",),
        "public-read",
        "public-read-write",
        "authenticated-read",
        "website",
    )(file)
    for name in ("block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets"):
        yield from _is(
            ("aws_s3_bucket_public_access_block", "aws_s3_account_public_access_block"), (name,), "false"
        )(file)
    yield from _is(
        (
            "google_storage_bucket_iam_member",
            "google_storage_bucket_iam_binding",
            "google_project_iam_member",
        ),
        ("member",),
        "allusers",
        "allauthenticatedusers",
    )(file)
    for block in file.resources("google_storage_bucket_iam_binding", "google_storage_bucket_access_control"):
        members = block.get("members") or block.get("entity")
        if members is not None and re.search(r"all(?:Authenticated)?Users", members.source):
            yield file.at(members, "allUsers")
    yield from _is(("azurerm_storage_container",), ("container_access_type",), "blob", "container")(file)
    yield from _is(("azurerm_storage_account",), ("allow_nested_items_to_be_public",), "true")(file)


def _everything(file: Terraform) -> Iterator[Place]:
    for statement in file.statements():
        action, resource, effect = statement.get("action"), statement.get("resource"), statement.get("effect")
        if action is None or (effect is not None and effect.text == "deny"):
            continue
        every = re.search(r"\"\*\"|\"\*:\*\"", action.source) is not None
        wide = re.search(r"\"(?:iam|s3|ec2|kms|secretsmanager|sts):\*\"", action.source) is not None
        everywhere = resource is not None and re.search(r"\"\*\"", resource.source) is not None
        who = statement.get("principal")
        if (every or wide) and everywhere:
            yield file.at(
                action, "every action on everything", Confidence.CERTAIN if every else Confidence.POSSIBLE
            )
        elif who is not None and re.search(r"\"\*\"", who.source) and "condition" not in statement:
            yield file.at(who, "everybody")
    for block in file.resources(
        "aws_iam_role_policy_attachment", "aws_iam_user_policy_attachment", "aws_iam_policy_attachment"
    ):
        arn = block.get("policy_arn")
        if arn is not None and arn.text.endswith("policy/administratoraccess"):
            yield file.at(arn, "AdministratorAccess")
    yield from _is(
        ("google_project_iam_member", "google_project_iam_binding"), ("role",), "roles/owner", "roles/editor"
    )(file)


def _written(file: Terraform) -> Iterator[Place]:
    for block in file.blocks:
        if block.kind == "variable" and SECRET.search(block.type):
            value = block.get("default")
            if (
                value is not None
                and value.literal
                and len(value.text) >= 6
                and not HARMLESS.search(value.text)
            ):
                yield file.at(value, block.type)
        if block.kind not in ("resource", "provider", "module", "connection"):
            continue
        for name, value in block.attributes():
            if (
                SECRET.search(name)
                and value.literal
                and len(value.text) >= 6
                and not HARMLESS.search(value.text)
            ):
                yield file.at(value, name)
    for block in file.blocks:
        for name, value in block.attributes():
            if name == "user_data" and re.search(
                r"(?i)(?:password|secret|token)\s*=\s*['\"]?[\w!@#%^&*-]{6,}", value.source
            ):
                yield file.at(value, "user_data")


def _plain(file: Terraform) -> Iterator[Place]:
    for block in file.resources("aws_lb_listener", "aws_alb_listener"):
        protocol, action = block.get("protocol"), block.find("default_action", "type")
        if protocol is not None and protocol.text == "http" and (action is None or action.text != "redirect"):
            yield file.at(protocol, "HTTP")
    yield from _is(("azurerm_storage_account",), ("enable_https_traffic_only",), "false")(file)
    yield from _is(("azurerm_storage_account",), ("https_traffic_only_enabled",), "false")(file)
    yield from _is(
        ("azurerm_app_service", "azurerm_linux_web_app", "azurerm_windows_web_app", "azurerm_function_app"),
        ("https_only",),
        "false",
    )(file)
    yield from _is(
        ("aws_cloudfront_distribution",), ("default_cache_behavior", "viewer_protocol_policy"), "allow-all"
    )(file)
    yield from _is(
        ("google_sql_database_instance",), ("settings", "ip_configuration", "require_ssl"), "false"
    )(file)
    yield from _is(("aws_elasticache_replication_group",), ("transit_encryption_enabled",), "false")(file)


def _old_tls(file: Terraform) -> Iterator[Place]:
    names = (
        "min_tls_version",
        "minimum_tls_version",
        "ssl_policy",
        "minimum_protocol_version",
        "tls_security_policy",
        "security_policy",
    )
    old = re.compile(
        r"^(?:tls_?v?1[._]?[01]|tlsv1(?:_2016)?|sslv3|1\.[01]|elbsecuritypolicy-(?:2016-08|2015.*|tls-1-[01].*)|policy-min-tls-1-0.*|tls_1_0|tls10|tls11)$"
    )
    for block in file.blocks:
        for name, value in block.attributes():
            if name in names and old.match(value.text.replace('"', "")):
                yield file.at(value, f"{name} = {value.text}")


def _providers(file: Terraform) -> Iterator[Place]:
    for block in file.blocks:
        if block.kind == "provider":
            for name in (
                "insecure",
                "skip_tls_verify",
                "insecure_skip_verify",
                "tls_insecure",
                "allow_unverified_ssl",
                "skip_cert_verification",
            ):
                value = block.get(name)
                if value is not None and value.text == "true":
                    yield file.at(value, name)


def _modules(file: Terraform) -> Iterator[Place]:
    for block in file.blocks:
        source = block.get("source") if block.kind == "module" else None
        if source is None or not source.literal:
            continue
        remote = re.match(r"git::|git@|github\.com/|bitbucket\.org/|https?://|hg::", source.text)
        ref = re.search(r"[?&]ref=([\w./-]+)", source.text)
        if remote and (ref is None or ref[1] in ("main", "master", "develop", "head")):
            yield file.at(source, source.text[:60])
        if source.text.startswith("http://"):
            yield file.at(source, "plain http")


def _provisioners(file: Terraform) -> Iterator[Place]:
    for block in file.blocks:
        if block.kind != "provisioner":
            continue
        for name, value in block.attributes():
            if name in ("command", "inline") and re.search(
                r"\b(?:curl|wget)\b[^;&\n\"]*\|\s*(?:sudo\s+)?(?:ba)?sh\b", value.source
            ):
                yield file.at(value, "download run unseen")


def _outputs(file: Terraform) -> Iterator[Place]:
    for block in file.blocks:
        if block.kind != "output" or not SECRET.search(block.type):
            continue
        marked = block.get("sensitive")
        value = block.get("value")
        if value is not None and (marked is None or marked.text != "true") and not value.literal:
            yield file.at(value, block.type)


def _res(kind: str, body: str) -> str:
    return f'resource "{kind}" "one" {{\n  {body}\n}}\n'


_R = LanguageRule[Terraform]
RULES = (
    _R("tf-open-port", 284, "Port open to everybody", Severity.HIGH, "a firewall lets everybody reach remote login, a database or every port",
       "Passwords are tried and new flaws used within minutes.", "Name the networks that need it.",
       bad=_res("aws_security_group", 'ingress {\n    from_port = 22\n    to_port = 22\n    protocol = "tcp"\n    cidr_blocks = ["0.0.0.0/0"]\n  }'),
       good=_res("aws_security_group", 'ingress {\n    from_port = 22\n    to_port = 22\n    protocol = "tcp"\n    cidr_blocks = ["10.1.0.0/16"]\n  }'),
       find=_open_ports),
    _R("tf-public-bucket", 732, "Bucket open to everybody", Severity.HIGH, "stored objects can be read or written by everybody",
       "Names of buckets are guessed and listed by machines.", "Block public access; serve through a distribution.",
       bad=_res("aws_s3_bucket_acl", 'acl = "public-read"'), good=_res("aws_s3_bucket_acl", 'acl = "private"'), find=_public_buckets),
    _R("tf-unencrypted", 311, "Store without encryption", Severity.MEDIUM, "a disk or database is stored unencrypted",
       "A snapshot that is shared or kept is readable.", "Switch encryption on, with a key of your own.",
       bad=_res("aws_db_instance", "storage_encrypted = false"), good=_res("aws_db_instance", "storage_encrypted = true"),
       find=_both(_is(STORES, ("storage_encrypted",), "false"), _is(STORES, ("encrypted",), "false"),
                  _is(("aws_instance", "aws_launch_template"), ("root_block_device", "encrypted"), "false"),
                  _is(("aws_db_instance",), ("storage_encrypted",), missing=True),
                  _is(("aws_elasticache_replication_group",), ("at_rest_encryption_enabled",), "false"))),
    _R("tf-public-store", 668, "Database reachable from outside", Severity.HIGH, "a database has a public address",
       "Everybody may try passwords, or use the flaw of the week.", "Keep it in private networks.",
       bad=_res("aws_db_instance", "publicly_accessible = true\n  storage_encrypted = true"),
       good=_res("aws_db_instance", "publicly_accessible = false\n  storage_encrypted = true"),
       find=_both(_is((*STORES, "aws_rds_cluster_instance", "aws_dms_replication_instance", "aws_mq_broker"), ("publicly_accessible",), "true"),
                  _is(("google_sql_database_instance",), ("settings", "ip_configuration", "ipv4_enabled"), "true"),
                  _is(("azurerm_*",), ("public_network_access_enabled",), "true"))),
    _R("tf-all-rights", 269, "Every right", Severity.HIGH, "a policy allows every action on everything, or allows everybody",
       "Who takes one key takes the account.", "List the actions and resources that are used.",
       bad=_res("aws_iam_policy", 'policy = jsonencode({ Statement = [{ Effect = "Allow", Action = "*", Resource = "*" }] })'),
       good=_res("aws_iam_policy", 'policy = jsonencode({ Statement = [{ Effect = "Allow", Action = ["s3:GetObject"], Resource = "arn:aws:s3:::a/*" }] })'),
       find=_everything),
    _R("tf-secret-written", 798, "Secret in the configuration", Severity.HIGH, "a secret is written in the configuration",
       "Who reads the repository or the state has it.", "Read it from a secret store with a data source.",
       bad=_res("aws_db_instance", 'password = "correct-horse-42"\n  storage_encrypted = true'),
       good=_res("aws_db_instance", "password = var.db_password\n  storage_encrypted = true"), find=_written),
    _R("tf-plain-transport", 319, "Traffic without TLS", Severity.MEDIUM, "a service answers without TLS",
       "Sessions and passwords cross the network readable.", "Answer with HTTPS and redirect the rest to it.",
       bad=_res("aws_lb_listener", 'protocol = "HTTP"\n  default_action {\n    type = "forward"\n  }'),
       good=_res("aws_lb_listener", 'protocol = "HTTPS"\n  default_action {\n    type = "forward"\n  }'), find=_plain),
    _R("tf-old-tls", 326, "Old TLS accepted", Severity.MEDIUM, "TLS 1.0 or 1.1 is accepted",
       "Both are broken and no longer needed by any browser.", "Ask for TLS 1.2 at least.",
       bad=_res("azurerm_storage_account", 'min_tls_version = "TLS1_0"'), good=_res("azurerm_storage_account", 'min_tls_version = "TLS1_2"'),
       find=_old_tls),
    _R("tf-open-metadata", 1188, "Old instance metadata service", Severity.MEDIUM, "instance metadata answers without a session token",
       "One forged request of a server reads the machine's credentials.", 'Set http_tokens = "required".',
       bad=_res("aws_instance", 'metadata_options {\n    http_tokens = "optional"\n  }'),
       good=_res("aws_instance", 'metadata_options {\n    http_tokens = "required"\n  }'),
       find=_is(("aws_instance", "aws_launch_template", "aws_launch_configuration"), ("metadata_options", "http_tokens"), "optional", missing=True)),
    _R("tf-open-control", 668, "Cluster's API open to everybody", Severity.MEDIUM, "the cluster's API answers the whole internet",
       "Stolen tokens and new flaws work from everywhere.", "Use a private endpoint, or list networks.",
       bad=_res("aws_eks_cluster", 'vpc_config {\n    endpoint_public_access = true\n    public_access_cidrs = ["0.0.0.0/0"]\n  }'),
       good=_res("aws_eks_cluster", 'vpc_config {\n    endpoint_public_access = true\n    public_access_cidrs = ["192.0.2.0/24"]\n  }'),
       find=_both(_is(("aws_eks_cluster",), ("vpc_config", "public_access_cidrs"), '["0.0.0.0/0"]'),
                  _is(("azurerm_kubernetes_cluster",), ("role_based_access_control_enabled",), "false"),
                  _is(("google_container_cluster",), ("enable_legacy_abac",), "true"))),
    _R("tf-certificate-unchecked", 295, "Certificate not checked", Severity.HIGH, "a provider accepts any certificate",
       "Anybody on the way reads the credentials of the account.", "Remove it; give the authority's certificate.",
       bad='provider "vsphere" {\n  allow_unverified_ssl = true\n}\n', good='provider "vsphere" {\n  allow_unverified_ssl = false\n}\n',
       find=_providers),
    _R("tf-moving-module", 1357, "Module that moves", Severity.LOW, "a module comes from a branch, or from no version",
       "The next plan is another program, run with the account's rights.", "Name a tag or commit with ?ref=.",
       bad='module "net" {\n  source = "git::https://example.com/net.git"\n}\n',
       good='module "net" {\n  source = "git::https://example.com/net.git?ref=v1.4.2"\n}\n', find=_modules),
    _R("tf-piped-download", 494, "Download run unseen", Severity.HIGH, "a provisioner runs what it downloads",
       "Who holds the server runs commands on the new machine.", "Bake an image, or compare a checksum.",
       bad=_res("null_resource", 'provisioner "remote-exec" {\n    inline = ["curl -s https://get.example.com | sudo sh"]\n  }'),
       good=_res("null_resource", 'provisioner "remote-exec" {\n    inline = ["sudo systemctl start app"]\n  }'), find=_provisioners),
    _R("tf-secret-shown", 532, "Secret shown as output", Severity.LOW, "an output shows a secret",
       "It stands in the log of every run.", "Set sensitive = true, better: do not output it.",
       bad='output "db_password" {\n  value = random_password.db.result\n}\n',
       good='output "db_password" {\n  value = random_password.db.result\n  sensitive = true\n}\n', find=_outputs),
    _R("tf-no-trail", 778, "Trail switched off", Severity.MEDIUM, "logging or the check of logs is off",
       "Nobody can tell afterwards what was done.", "Switch it on.",
       bad=_res("aws_cloudtrail", "enable_logging = false"), good=_res("aws_cloudtrail", "enable_logging = true"),
       find=_both(_is(("aws_cloudtrail",), ("enable_logging",), "false"), _is(("aws_cloudtrail",), ("enable_log_file_validation",), "false"))),
    _R("tf-key-kept", 324, "Key never rotated", Severity.LOW, "a key's rotation is off",
       "A key that leaked once is good for ever.", "Set enable_key_rotation = true.",
       bad=_res("aws_kms_key", "enable_key_rotation = false"), good=_res("aws_kms_key", "enable_key_rotation = true"),
       find=_is(("aws_kms_key",), ("enable_key_rotation",), "false", missing=True)),
)  # fmt: skip
