"""What does the outside world do: which values come from outside, what makes them harmless?"""

import stat

from veilig.audit.engine.knowledge import Knowledge, words
from veilig.audit.engine.probes import PROBES
from veilig.audit.engine.value import EVERY_KIND, OriginKind

R, L, E = OriginKind.REMOTE, OriginKind.LOCAL, OriginKind.ENVIRONMENT
RANDOM, ERROR, SECRET = OriginKind.RANDOM, OriginKind.ERROR, OriginKind.SECRET
EVERYTHING = frozenset({EVERY_KIND})


def _kinds(*names: str) -> frozenset[str]:
    return frozenset(names)


REQUESTS = frozenset(
    {"flask.request", "http.request", "bottle.request", "quart.request", "sanic.request", "django.request"}
)
REQUEST_PARTS = frozenset(
    words(
        "args form values cookies headers json data files query_string path full_path url base_url "
        "view_args stream "
        "multipart "
        "get_json get_data GET POST COOKIES META FILES body query_params path_params QUERY_PARAMS "
        "DATA query params "
        "match_info rel_url forms referrer user_agent content_type input_stream raw_path arguments "
        "text post read "
        "REQUEST get_full_path build_absolute_uri host get_host remote_user authorization"
    )
)

RANDOM_CALLS = {
    f"random.{name}": RANDOM
    for name in words(
        "random randint randrange choice choices sample uniform getrandbits randbytes shuffle gauss "
        "normalvariate triangular betavariate expovariate lognormvariate vonmisesvariate"
    )
} | {
    f"{owner}.{name}": RANDOM
    for owner in (
        "random.Random()",
        "numpy.random",
        "numpy.random.default_rng()",
        "numpy.random.RandomState()",
    )
    for name in words(
        "random randint randrange choice choices getrandbits randbytes bytes integers rand sample"
    )
}

SOURCE_CALLS = {
    "input": L,
    "sys.stdin.read": L,
    "sys.stdin.readline": L,
    "fileinput.input": L,
    ".parse_args": L,
    ".parse_known_args": L,
    "os.getenv": E,
    "os.environ.get": E,
    ".get_argument": R,
    ".get_arguments": R,
    ".get_query_argument": R,
    ".get_body_argument": R,
    ".get_cookie": R,
    ".get_secure_cookie": R,
    ".recv": R,
    ".recvfrom": R,
    ".readexactly": R,
    ".readuntil": R,
    ".receive_text": R,
    ".receive_json": R,
    ".fetchone": OriginKind.STORED,
    ".blpop": OriginKind.STORED,
    ".brpop": OriginKind.STORED,
    ".basic_get": OriginKind.STORED,
    "csv.DictReader": OriginKind.STORED,
    "csv.reader": OriginKind.STORED,
    **dict.fromkeys(
        words("""
        openai.OpenAI().chat.completions.create openai.AsyncOpenAI().chat.completions.create
        openai.OpenAI().responses.create openai.AsyncOpenAI().responses.create openai.ChatCompletion.create
        anthropic.Anthropic().messages.create anthropic.AsyncAnthropic().messages.create
        litellm.completion litellm.acompletion ollama.chat ollama.generate
        """),
        R,
    ),
    ".fetchall": OriginKind.STORED,
    "cgi.FieldStorage": R,
    "traceback.format_exc": ERROR,
    "traceback.format_exception": ERROR,
    "sys.exc_info": ERROR,
    "getpass.getpass": SECRET,
    ".namelist": OriginKind.ARCHIVE,
    ".infolist": OriginKind.ARCHIVE,
    ".getnames": OriginKind.ARCHIVE,
    ".getmembers": OriginKind.ARCHIVE,
    "time.time": OriginKind.CLOCK,
    "time.time_ns": OriginKind.CLOCK,
    "datetime.datetime.now": OriginKind.CLOCK,
    "datetime.datetime.utcnow": OriginKind.CLOCK,
    "uuid.uuid1": OriginKind.CLOCK,
    **RANDOM_CALLS,
}

# int() and friends are in engine/builtin_calls.py: they also prove something about the text they were given.
_HARMLESS_CALLS = words("""
len hash id type abs round sum min datetime.datetime.strptime datetime.date.fromisoformat
datetime.datetime.fromisoformat .hexdigest .digest hashlib.sha256 hashlib.sha512 hashlib.md5 hashlib.sha1
.isoformat
open .execute .executemany .filter .filter_by .get_or_404 .first_or_404 .objects.get .find_one .find .fetch
.count
requests.get requests.post requests.put requests.delete requests.head requests.request httpx.get httpx.post
httpx.request urllib.request.urlopen subprocess.run subprocess.check_output subprocess.Popen subprocess.call
subprocess.check_call os.system os.path.exists os.path.isfile os.path.isdir os.path.getsize os.stat
os.listdir .exists
.is_file .is_dir .read_text.size .iterdir .check_password bcrypt.checkpw hmac.compare_digest
secrets.compare_digest
werkzeug.security.check_password_hash werkzeug.security.generate_password_hash bcrypt.hashpw
.delete_many .insert_one .update_one .delete_one print logging.info logging.warning logging.error .send_file
flask.send_from_directory django.shortcuts.get_object_or_404 django.contrib.auth.authenticate .total_seconds
zlib.crc32 binascii.crc32 uuid.uuid4 uuid.uuid5 flask.url_for django.urls.reverse .url_for issubclass callable
""")

SANITISERS: dict[str, frozenset[str]] = {
    **dict.fromkeys(_HARMLESS_CALLS, EVERYTHING),
    "html.escape": _kinds("html", "xml"),
    "markupsafe.escape": _kinds("html", "xml"),
    "flask.escape": _kinds("html", "xml"),
    "django.utils.html.escape": _kinds("html", "xml"),
    "django.utils.html.conditional_escape": _kinds("html"),
    "django.utils.html.strip_tags": _kinds("html"),
    "django.utils.html.format_html": _kinds("html"),
    "django.utils.html.format_html_join": _kinds("html"),
    "django.utils.html.linebreaks": _kinds("html"),
    "django.utils.html.urlize": _kinds("html"),
    "django.utils.html.json_script": _kinds("html"),
    "xml.sax.saxutils.escape": _kinds("html", "xml"),
    "xml.sax.saxutils.quoteattr": _kinds("html", "xml", "xpath"),
    "bleach.clean": _kinds("html"),
    "nh3.clean": _kinds("html"),
    "cgi.escape": _kinds("html"),
    "tornado.escape.xhtml_escape": _kinds("html"),
    "flask.render_template": _kinds("html", "template"),
    "flask.render_template_string": _kinds("html", "template"),
    "django.shortcuts.render": _kinds("html", "template"),
    "flask.jsonify": _kinds("html"),
    "flask.make_response": _kinds("html", "error"),  # the call itself is looked at
    "json.dumps": _kinds("html", "log", "header"),
    "ldap.filter.filter_format": _kinds("ldap"),
    "shlex.quote": _kinds("shell"),
    **dict.fromkeys(
        words("""
        itsdangerous.URLSafeSerializer().loads itsdangerous.URLSafeTimedSerializer().loads
        itsdangerous.TimestampSigner().unsign itsdangerous.Signer().unsign itsdangerous.Serializer().loads
        itsdangerous.TimedSerializer().loads django.core.signing.loads django.core.signing.Signer().unsign
        django.core.signing.TimestampSigner().unsign cryptography.fernet.Fernet().decrypt
        cryptography.fernet.MultiFernet().decrypt
        """),
        EVERYTHING,
    ),
    "pipes.quote": _kinds("shell"),
    "shlex.join": _kinds("shell"),
    "werkzeug.utils.secure_filename": _kinds("path", "shell", "header", "log"),
    "os.path.basename": _kinds("path"),
    "ntpath.basename": _kinds("path"),
    "werkzeug.utils.safe_join": _kinds("path"),
    "flask.safe_join": _kinds("path"),
    "django.utils._os.safe_join": _kinds("path"),
    "os.path.realpath": _kinds("normal"),
    "os.path.abspath": _kinds("normal"),
    "os.path.normpath": _kinds("normal"),
    ".resolve": _kinds("normal"),
    ".absolute": frozenset(),
    "urllib.parse.quote": _kinds("html", "log", "header", "redirect", "url", "xpath", "template"),
    "urllib.parse.quote_plus": _kinds(
        "html", "log", "header", "redirect", "url", "path", "xpath", "template"
    ),
    "urllib.parse.urlencode": _kinds("html", "log", "header", "url", "redirect"),
    "re.escape": _kinds("regex"),
    "fnmatch.translate": _kinds("regex"),
    "ldap.filter.escape_filter_chars": _kinds("ldap"),
    "ldap3.utils.conv.escape_filter_chars": _kinds("ldap"),
    "ldap.dn.escape_dn_chars": _kinds("ldap"),
    "psycopg2.extensions.quote_ident": _kinds("sql"),
    "psycopg2.sql.Identifier": _kinds("sql"),
    "psycopg2.sql.Literal": _kinds("sql"),
    "psycopg.sql.Identifier": _kinds("sql"),
    "psycopg.sql.Literal": _kinds("sql"),
    ".escape_string": _kinds("sql"),
    ".mogrify": _kinds("sql"),
    "repr": _kinds("log", "header"),
    "ascii": _kinds("log", "header"),
    "base64.b64encode": _kinds("sql", "shell", "html", "xpath", "ldap", "log", "header", "template"),
    "base64.urlsafe_b64encode": _kinds(
        "sql", "shell", "html", "xpath", "ldap", "log", "header", "template", "path"
    ),
    "defusedxml.ElementTree.fromstring": EVERYTHING,
    "str.isalnum": frozenset(),
    ".hex": EVERYTHING,
}

# An IP address is harmless text; as an address to fetch it may still be an internal one.
ADDRESS = frozenset({*PROBES, "csv", "format", "mass"}) - {"url"}

VALIDATORS: dict[str, frozenset[str]] = {
    "uuid.UUID": EVERYTHING,
    "ipaddress.ip_address": ADDRESS,
    "ipaddress.IPv4Address": ADDRESS,
    "ipaddress.ip_network": EVERYTHING,
    "decimal.Decimal": EVERYTHING,
    ".relative_to": _kinds("path"),
    "django.core.validators.validate_slug": EVERYTHING,
    "django.core.validators.validate_ipv4_address": EVERYTHING,
    "ast.literal_eval": _kinds("code"),
}

TESTS: dict[str, frozenset[str]] = {
    **{
        f".{name}": EVERYTHING
        for name in words("isdigit isalnum isalpha isnumeric isdecimal isidentifier isascii_letters")
    },
    ".is_relative_to": _kinds("path"),
    ".startswith": frozenset({"prefix"}),
    ".endswith": frozenset({"suffix"}),
    "django.utils.http.url_has_allowed_host_and_scheme": _kinds("redirect", "url"),
    "django.utils.http.is_safe_url": _kinds("redirect", "url"),
    ".is_safe_url": _kinds("redirect", "url"),
    "os.path.samefile": _kinds("path"),
}

CARRIERS = frozenset(
    words("""
    os.path.join os.path.expanduser os.path.expandvars os.path.normpath pathlib.Path pathlib.PurePath
    os.fspath
    pathlib.PosixPath str.format str.join urllib.parse.urljoin urllib.parse.urlparse urllib.parse.urlsplit
    urllib.parse.urlunparse
    json.loads json.load io.StringIO io.BytesIO bytes bytearray memoryview copy.copy copy.deepcopy
    textwrap.dedent
    sqlalchemy.text sqlalchemy.sql.text sqlalchemy.sql.expression.text string.Template shlex.split max
    django.utils.safestring.mark_safe markupsafe.Markup flask.Markup lxml.etree.fromstring yaml.safe_load
    collections.namedtuple operator.itemgetter functools.reduce itertools.chain contextlib.closing
    .format .join .joinpath .read .readline .readlines .getvalue .substitute .safe_substitute .write
    pathlib.Path().open
    subprocess.list2cmdline dict.fromkeys traceback.format_exception_only unicodedata.normalize
    asyncio.wait_for
    asyncio.gather .with_name .with_suffix .Template jinja2.Template jinja2.Environment().from_string
    urllib.request.Request requests.Request django.http.QueryDict werkzeug.datastructures.MultiDict str
    bytes.decode
    """)
)

DECODERS = frozenset(
    words("""
    urllib.parse.unquote urllib.parse.unquote_plus base64.b64decode base64.urlsafe_b64decode base64.b32decode
    base64.b16decode binascii.unhexlify bytes.fromhex codecs.decode html.unescape urllib.parse.parse_qs
    urllib.parse.parse_qsl zlib.decompress
    """)
)

ENDINGS = frozenset(
    {
        "flask.abort", "werkzeug.exceptions.abort", "sys.exit", "os._exit", "exit", "quit", "bottle.abort",
        "quart.abort", "os.abort", "pytest.fail", "flask_restful.abort", "flask_restx.abort",
    }
)  # fmt: skip

ALIASES = {
    "flask.globals.request": "flask.request",
    "os.environ.__getitem__": "os.environ",
    "cPickle": "pickle",
    "_pickle": "pickle",
    "simplejson": "json",
    "xml.etree.cElementTree": "xml.etree.ElementTree",
    "cElementTree": "xml.etree.ElementTree",
    "jinja2.Markup": "markupsafe.Markup",
    "posixpath": "os.path",
    "Cryptodome": "Crypto",
    "werkzeug.secure_filename": "werkzeug.utils.secure_filename",
    "subprocess32": "subprocess",
    "six.moves.urllib": "urllib",
    "django.http.response.HttpResponse": "django.http.HttpResponse",
}

HANDLER_BASES = {
    "http.server.BaseHTTPRequestHandler": {"path": R, "headers": R, "rfile": R, "requestline": R},
    "http.server.SimpleHTTPRequestHandler": {"path": R, "headers": R, "rfile": R},
    "socketserver.BaseRequestHandler": {"request": R},
    "socketserver.StreamRequestHandler": {"rfile": R},
    "rest_framework.views.APIView": {"kwargs": R},
    "django.views.View": {"kwargs": R},
    "django.views.generic.View": {"kwargs": R},
    "django.views.generic.TemplateView": {"kwargs": R},
}

ENTRY_DECORATORS = {
    **dict.fromkeys(
        words("route get post put patch delete api_route websocket view endpoint options head"), R
    ),
    **dict.fromkeys(("command", "option", "argument"), L),
}

HARMLESS_TYPES = frozenset(
    words("""
    int float bool UUID uuid4 UUID4 date datetime timedelta Decimal PositiveInt NonNegativeInt conint
    confloat Session
    AsyncSession BackgroundTasks Response IPvAnyAddress IPv4Address EmailStr Connection Cursor Engine Logger
    """)
)

KNOWLEDGE = Knowledge(
    source_names={
        "sys.argv": L,
        "sys.stdin": L,
        "os.environ[]": E,
        "os.environ": E,
    },
    source_calls=SOURCE_CALLS,
    requests=REQUESTS,
    request_parts=REQUEST_PARTS,
    sanitisers=SANITISERS,
    validators=VALIDATORS,
    tests=TESTS,
    carriers=CARRIERS,
    prefixes={"tempfile.gettempdir": "/tmp/"},  # noqa: S108  # a fact about the audited program
    constants={
        **{
            f"stat.{name}": getattr(stat, name)
            for name in dir(stat)
            if name.startswith("S_I") and isinstance(getattr(stat, name), int)
        },
        "os.pathsep": ":",
        "os.sep": "/",
        "os.path.sep": "/",
        "os.linesep": "\n",
    },
    decoders=DECODERS,
    endings=ENDINGS,
    aliases=ALIASES,
    request_parameters=frozenset({"request", "req", "http_request"}),
    handler_bases=HANDLER_BASES,
    entry_decorators=ENTRY_DECORATORS,
    harmless_types=HARMLESS_TYPES,
)
