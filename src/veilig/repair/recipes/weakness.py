"""Which edit takes a weakness away, or what must a person do instead?"""

from collections.abc import Callable, Mapping

from veilig.audit.finding import Finding
from veilig.audit.rules import BY_ID
from veilig.repair.edit import BOM, EditError
from veilig.repair.recipes import weakness_access as access
from veilig.repair.recipes import weakness_allow as allow
from veilig.repair.recipes import weakness_cipher as cipher
from veilig.repair.recipes import weakness_closed as closed
from veilig.repair.recipes import weakness_command as command
from veilig.repair.recipes import weakness_credential as credential
from veilig.repair.recipes import weakness_crypto as crypto
from veilig.repair.recipes import weakness_data as data
from veilig.repair.recipes import weakness_exposure as exposure
from veilig.repair.recipes import weakness_failure as failure
from veilig.repair.recipes import weakness_filter as filters
from veilig.repair.recipes import weakness_handle as handle
from veilig.repair.recipes import weakness_input as inputs
from veilig.repair.recipes import weakness_keys as keys
from veilig.repair.recipes import weakness_login as login
from veilig.repair.recipes import weakness_password as password
from veilig.repair.recipes import weakness_path as path
from veilig.repair.recipes import weakness_resource as resource
from veilig.repair.recipes import weakness_rights as rights
from veilig.repair.recipes import weakness_settings as settings
from veilig.repair.recipes import weakness_sql as sql
from veilig.repair.recipes import weakness_transport as transport
from veilig.repair.recipes import weakness_ways as ways
from veilig.repair.recipes import weakness_web as web
from veilig.repair.recipes.proposal import Advice, Proposal
from veilig.repair.recipes.syntax import trouble_of
from veilig.repair.recipes.weakness_advice import ADVICE
from veilig.repair.recipes.weakness_imports import without_leftovers
from veilig.repair.recipes.weakness_site import Site

_RECIPES: Mapping[int, Callable[[Site], list[Proposal]]] = {
    22: path.guard_path,
    73: path.guard_path,
    78: command.without_shell,
    79: web.escape_html,
    80: web.escape_html,
    89: sql.parameterise,
    90: filters.escape_ldap,
    94: command.literal_eval,
    95: command.literal_eval,
    113: inputs.plain_header,
    117: inputs.quote_in_log,
    208: crypto.constant_time,
    209: exposure.hide_error,
    295: crypto.verify_tls,
    326: keys.long_key,
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
    643: filters.xpath_variables,
    525: closed.private_pages,
    636: closed.closed_on_errors,
    732: path.file_mode,
    1188: closed.wanted_secret,
    321: credential.secret_from_environment,
    798: credential.secret_from_environment,
    1004: web.cookie_flags,
    1333: crypto.escape_pattern,
    1336: web.constant_template,
}

type Recipe = Callable[[Site], list[Proposal]]

# By rule first: it says more than the CWE number, which findings of other tools share.
_BY_RULE: Mapping[str, Recipe] = {
    "access-by-assert": failure.raise_instead,
    "any-host": settings.protective,
    "bind-all": settings.address,
    "catches-everything": failure.narrower,
    "cookie-samesite": web.cookie_flags,
    "cors-any-origin": settings.origins,
    "cors-reflected-origin": rights.listed_origin,
    "csrf-disabled": web.csrf_check,
    "debug-enabled": web.debug_off,
    "directory-listing": settings.listing,
    "fast-password-hash": password.slow_hash,
    "fixed-salt": keys.fresh_salt,
    "fixed-vector": cipher.fresh_vector,
    "no-expiry": login.expiry,
    "plain-password": password.hashed,
    "predictable-generator": keys.unguessable,
    "rsa-padding": keys.padding,
    "session-fixation": login.new_session,
    "short-key": keys.long_key,
    "unverified-password-change": login.old_password,
    "user-enumeration": login.one_answer,
    "weak-cipher": cipher.authenticated_mode,
    "weak-recovery": keys.digest_of_clock,
    "fail-open": failure.refuse_on_error,
    "framing-allowed": settings.protective,
    "any-upload": resource.known_kind,
    "archive-bomb": resource.archive_size,
    "catastrophic-pattern": resource.simpler_pattern,
    "check-then-use": handle.without_race,
    "endless-polling": resource.deadline,
    "handle-left-open": handle.with_handle,
    "lock-left-held": handle.with_lock,
    "size-from-outside": resource.limited,
    "unbounded-recursion": resource.bounded_depth,
    "argument-injection": inputs.ends_options,
    "format-string": inputs.plain_format,
    "header-injection": inputs.plain_header,
    "log-injection": inputs.quote_in_log,
    "mass-assignment": inputs.named_fields,
    "nosql-injection": inputs.text_values,
    "request-forgery": allow.allowed_host,
    "spreadsheet-formula": inputs.plain_cell,
    "unsafe-reflection": allow.allowed_name,
    "unverified-download": inputs.pinned_digest,
    "xml-injection": inputs.escaped_xml,
    "cleartext-secret-file": transport.own_file,
    "cleartext-transport": transport.encrypted,
    "internals-shown": exposure.hide_field,
    "secret-in-address": transport.out_of_address,
    "secret-in-log": exposure.hide_secret,
    "client-says-who": access.stored_role,
    "cookie-says-who": access.stored_role,
    "lost-update": rights.held_row,
    "missing-authorization": access.login_required,
    "object-of-anybody": access.own_records,
    "role-from-request": access.stored_role,
    "search-path": rights.own_directory,
    "too-many-rights": rights.dropped_rights,
    "websocket-any-origin": rights.same_origin,
    "attempts-never-limited": ways.counted_attempts,
    "context-without-finally": ways.given_back,
    "error-counts-as-harmless": ways.dangerous_answer,
    "failed-check-goes-on": ways.stop_after_failure,
    "half-locked": ways.inside_lock,
    "idle-guard": ways.registered_guard,
    "locks-in-any-order": ways.one_order,
    "loop-without-progress": ways.end_of_data,
    "one-bad-message": ways.next_message,
    "precious-field-in-log": ways.hidden_field,
    "row-not-locked": rights.held_row,
    "short-send": ways.send_all,
    "signed-in-is-enough": ways.both_conditions,
    "tag-never-compared": ways.compared_tag,
    "temporary-file-left": ways.removed_file,
    "unbounded-store": ways.bounded_store,
    "unread-answer": ways.read_answer,
    "ignored-check": failure.read_answer,
    "program-directory-served": settings.served,
    "protective-header-off": settings.protective,
    "return-in-finally": failure.return_behind,
    "short-password": password.longer,
    "signature-optional": failure.refuse_missing,
    "swallowed-exception": failure.log_error,
    "unchecked-command": failure.checked_command,
}


def propose(finding: Finding, files: Mapping[str, str]) -> list[Proposal | Advice]:
    """Edits for one finding, best first; one piece of advice when none of them parses.

    files: relative posix path -> text as the audit saw it. A re-scan decides whether an edit is good.
    """
    found: list[Proposal] = []
    try:
        site = Site.at(finding, files)
        for recipe in dict.fromkeys((_BY_RULE.get(finding.rule), _RECIPES.get(finding.cwe))):
            if recipe is not None and not found:
                found = recipe(site)
        if not found and finding.cwe in (78, 94, 95):
            found = allow.allowed_command(site) or allow.allowed_name(site)
    except KeyError:
        return [_advice(finding, "the file is not among the files that were read")]
    except (SyntaxError, ValueError, RecursionError):
        return [_advice(finding, "the file does not parse")]
    # What needs no decision goes first: a caller that applies edits stops at the first question.
    good = sorted(
        (item for item in found if _parses(item, files)), key=lambda item: (bool(item.decision), item.cost)
    )
    tidy = [without_leftovers(item, files) for item in good]
    good = [new if _parses(new, files) else old for old, new in zip(good, tidy, strict=True)]
    return [*good] if good else [_advice(finding)]


def families() -> frozenset[int]:
    """The CWE numbers that an edit exists for."""
    return frozenset(_RECIPES)


def _parses(proposal: Proposal, files: Mapping[str, str]) -> bool:
    try:
        after = proposal.patch().apply(files)
    except EditError:
        return False
    changed = [path for path, text in after.items() if text != files.get(path)]
    return bool(changed) and all(
        trouble_of(after[path].removeprefix(BOM)) is None for path in changed if path.endswith(".py")
    )


def _advice(finding: Finding, reason: str = "") -> Advice:
    known = BY_ID.get(finding.rule)
    told = (
        known.advice if known is not None else "no edit is known for this weakness: a person has to change it"
    )
    text = reason or ADVICE.get(finding.cwe, told)
    return Advice(f"cwe-{finding.cwe}", finding.title, finding.path, finding.line, text)
