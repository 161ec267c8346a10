"""What must a person do where no edit is right, by CWE number?"""

from collections.abc import Mapping

ADVICE: Mapping[int, str] = {
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
