"""Which edit takes a weakness away, or what must a person do instead?"""

from collections.abc import Callable, Mapping

from veilig.audit.finding import Finding
from veilig.repair.edit import BOM, EditError
from veilig.repair.recipes import weakness_command as command
from veilig.repair.recipes import weakness_crypto as crypto
from veilig.repair.recipes import weakness_data as data
from veilig.repair.recipes import weakness_path as path
from veilig.repair.recipes import weakness_sql as sql
from veilig.repair.recipes import weakness_web as web
from veilig.repair.recipes.proposal import Advice, Proposal
from veilig.repair.recipes.syntax import trouble_of
from veilig.repair.recipes.weakness_site import Site

_RECIPES: Mapping[int, Callable[[Site], list[Proposal]]] = {
    22: path.guard_path,
    73: path.guard_path,
    78: command.without_shell,
    79: web.escape_html,
    80: web.escape_html,
    89: sql.parameterise,
    90: sql.escape_ldap,
    94: command.literal_eval,
    95: command.literal_eval,
    117: crypto.quote_in_log,
    208: crypto.constant_time,
    209: web.hide_error,
    295: crypto.verify_tls,
    326: crypto.long_key,
    327: crypto.strong_hash,
    328: crypto.strong_hash,
    330: crypto.secure_random,
    338: crypto.secure_random,
    347: data.verify_token,
    352: web.csrf_check,
    377: path.temporary_file,
    400: crypto.add_timeout,
    489: web.debug_off,
    502: data.safe_load,
    601: web.local_redirect,
    611: data.no_entities,
    614: web.cookie_flags,
    643: sql.xpath_variables,
    732: path.file_mode,
    798: crypto.secret_from_environment,
    1004: web.cookie_flags,
    1333: crypto.escape_pattern,
    1336: web.constant_template,
}

_ADVICE: Mapping[int, str] = {
    20: "name the hosts that may be served",
    22: "name the folder that the path must stay in, resolve() both and refuse what is not inside it",
    78: "pass a list of arguments without a shell; the program must be a constant, not a value from outside",
    79: "let a template with autoescaping put the value into the page",
    89: "table and column names cannot be parameters: pick them from a fixed list, pass values as parameters",
    90: "escape every value of the filter with escape_filter_chars()",
    94: "text from outside must not become code: map the allowed operations to functions in a dictionary",
    95: "text from outside must not become code: map the allowed operations to functions in a dictionary",
    113: "refuse values with line breaks, or pick the header from a fixed list",
    326: "use a key of at least 2048 bits (RSA) or a modern curve",
    327: "use AES in GCM mode, or Fernet; the data encrypted so far has to be encrypted anew",
    347: "verify the token with a key and a fixed list of algorithms",
    352: "send and check a CSRF token",
    470: "look the name up in a dictionary of the classes and functions that may be used",
    501: "check what comes from outside before it goes into the session",
    502: "use json, or a format with a schema; pickle runs code while it loads, whatever is checked before",
    532: "leave the secret out of the log; what is logged already has to be treated as known to others",
    601: "look the target up in a fixed list, or allow paths on this host only",
    605: "bind to 127.0.0.1 unless other machines must reach the service",
    611: "parse with defusedxml, or with lxml and resolve_entities=False",
    703: "name the exceptions that are expected and log the others",
    798: "move the secret to the environment or a vault and revoke it: its history keeps it readable",
    915: "copy the allowed fields by name instead of all that came in",
    916: "hash passwords with argon2, scrypt or bcrypt and a salt per user",
    918: "look the host up in a list of allowed hosts, refuse redirects, and refuse private addresses",
    942: "name the origins that may read the answers",
    943: "check that the value is a str before it goes into the query: operators come in as objects",
    1333: "rewrite the expression without nested repeats, or bound the length of its input",
}


def propose(finding: Finding, files: Mapping[str, str]) -> list[Proposal | Advice]:
    """Edits for one finding, best first; one piece of advice when none of them parses.

    files: relative posix path -> text as the audit saw it. A re-scan decides whether an edit is good.
    """
    found: list[Proposal] = []
    recipe = _RECIPES.get(finding.cwe)
    try:
        if recipe is not None:
            found = recipe(Site.at(finding, files))
    except KeyError:
        return [_advice(finding, "the file is not among the files that were read")]
    except (SyntaxError, ValueError, RecursionError):
        return [_advice(finding, "the file does not parse")]
    good = sorted((item for item in found if _parses(item, files)), key=lambda item: item.cost)
    return [*good] if good else [_advice(finding)]


def families() -> frozenset[int]:
    """The CWE numbers that an edit exists for."""
    return frozenset(_RECIPES)


def _parses(proposal: Proposal, files: Mapping[str, str]) -> bool:
    try:
        after = proposal.patch().apply(files)[proposal.path]
    except EditError:
        return False
    return after != files[proposal.path] and trouble_of(after.removeprefix(BOM)) is None


def _advice(finding: Finding, reason: str = "") -> Advice:
    text = reason or _ADVICE.get(
        finding.cwe, "no edit is known for this weakness: a person has to change the code"
    )
    return Advice(f"cwe-{finding.cwe}", finding.title, finding.path, finding.line, text)
