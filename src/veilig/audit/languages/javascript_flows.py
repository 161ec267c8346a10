"""Which values of a stranger reach something dangerous in a script?"""

import re
from collections.abc import Callable, Iterator

from veilig.audit.finding import Confidence, Severity
from veilig.audit.languages.grammar import below, field, text_of
from veilig.audit.languages.javascript import Call, Script
from veilig.audit.languages.rule import LanguageRule, Place

type Find = Callable[[Script], Iterator[Place]]

RUNS = ("exec", "execSync", "spawn", "spawnSync", "execFile", "execFileSync", "fork")
FILES = (
    *("readFile", "readFileSync", "writeFile", "writeFileSync", "appendFile", "createReadStream", "unlink"),
    *(
        "createWriteStream",
        "unlinkSync",
        "readdir",
        "readdirSync",
        "rm",
        "rmSync",
        "open",
        "openSync",
        "stat",
    ),
    *("promises.readFile", "promises.writeFile", "promises.unlink", "promises.rm", "copyFile", "rename"),
)
MERGES = (
    "lodash.merge",
    "lodash.defaultsDeep",
    "lodash.mergeWith",
    "_.merge",
    "_.defaultsDeep",
    "$.extend",
    "jQuery.extend",
)
FETCHES = (
    *(
        "fetch",
        "node-fetch",
        "axios",
        "axios.get",
        "axios.post",
        "axios.put",
        "axios.request",
        "got",
        "got.get",
    ),
    *(
        "request",
        "request.get",
        "http.get",
        "http.request",
        "https.get",
        "https.request",
        "needle",
        "undici.request",
    ),
    *("superagent.get", "undici.fetch"),
)
FINDS = (
    ".find",
    ".findOne",
    ".findOneAndUpdate",
    ".updateOne",
    ".updateMany",
    ".deleteOne",
    ".deleteMany",
    ".countDocuments",
)


def reaches(*names: str, args: tuple[int, ...] = (0,), page: bool = False, built: bool = False) -> Find:
    """Places where a stranger's value is one of these arguments; `built`: also, as a pattern, any made text."""

    def find(script: Script) -> Iterator[Place]:
        for call in script.named(*names):
            yield from struck(script, call, args, page=page, built=built)

    return find


def struck(
    script: Script, call: Call, args: tuple[int, ...], *, page: bool = False, built: bool = False
) -> Iterator[Place]:
    """The call as a place, when one of the arguments is a stranger's."""
    for index in args:
        given = call.arg(index)
        origin = script.tainted(given, page=page)
        if origin is not None:
            yield script.place(call.node, Confidence.POSSIBLE, call.name, origin)
            return
        if built and script.built(given):
            yield script.place(call.node, Confidence.PATTERN, call.name)
            return


def _commands(script: Script) -> Iterator[Place]:
    for call in script.named(
        *(f"child_process.{name}" for name in RUNS), "execa.execaCommand", "shelljs.exec"
    ):
        name = call.name.rpartition(".")[2]
        through_shell = name in ("exec", "execSync", "execaCommand") or any(
            text_of(script.option(a, "shell")) not in ("", "false") for a in call.args
        )
        if through_shell:
            yield from struck(script, call, (0, 1) if "spawn" in name else (0,), built=True)
        else:
            yield from struck(script, call, (0,))


def _sql(script: Script) -> Iterator[Place]:
    for call in script.named(
        ".query", ".execute", ".raw", ".$queryRawUnsafe", ".$executeRawUnsafe", ".whereRaw", ".prepare"
    ):
        text = call.arg(0)
        if text is None or not script.built(text):
            continue
        parts = script.texts_of(text) if text.type == "identifier" else [text]
        whole = " ".join(map(text_of, parts))
        if not re.search(
            r"\b(select|insert|update|delete|where|from|drop|into|values)\b", whole, re.IGNORECASE
        ):
            continue
        origin = script.tainted(text)
        yield script.place(
            call.node, Confidence.POSSIBLE if origin else Confidence.PATTERN, call.name, origin
        )


def _nosql(script: Script) -> Iterator[Place]:
    for call in script.named(*FINDS):
        asked = call.arg(0)
        if asked is None or asked.type != "object":
            origin = script.tainted(asked)
            if origin is not None:
                yield script.place(call.node, Confidence.POSSIBLE, "the whole query", origin)
            continue
        for pair in asked.named_children:
            value = field(pair, "value") if pair.type == "pair" else None
            if value is None or value.type in ("template_string", "string", "binary_expression"):
                continue  # a text cannot be an operator like $gt
            if not re.search(r"body|query|\bctx\b", text_of(value)) and value.type != "identifier":
                continue
            origin = script.tainted(value)
            if origin is not None and re.search(r"\b(body|query)\b", origin[1]):
                yield script.place(pair, Confidence.POSSIBLE, text_of(field(pair, "key")), origin)


def _redirects(script: Script) -> Iterator[Place]:
    for call in script.named("res.redirect", "response.redirect", "reply.redirect", "ctx.redirect"):
        target = call.args[-1] if call.args else None
        if target is not None and re.match(r"[`'\"](?:/[\w?#]|https?://[^/$]+/)", text_of(target)):
            continue  # the host is fixed
        origin = script.tainted(target)
        if origin is not None:
            yield script.place(call.node, Confidence.POSSIBLE, call.name, origin)


def _page_writes(script: Script) -> Iterator[Place]:
    for node in script.of("assignment_expression"):
        target = field(node, "left")
        if target is None or text_of(field(target, "property")) not in ("innerHTML", "outerHTML", "srcdoc"):
            continue
        value = field(node, "right")
        origin = script.tainted(value, page=True) or script.tainted(value)
        if origin is not None or (script.built(value) and not _escaped(text_of(value))):
            sure = Confidence.POSSIBLE if origin else Confidence.PATTERN
            yield script.place(node, sure, text_of(target), origin)
    for call in script.named("document.write", "document.writeln", ".insertAdjacentHTML", ".html", ".append"):
        index = 1 if call.name.endswith("insertAdjacentHTML") else 0
        if call.name.endswith((".html", ".append")) and not call.name.startswith(("$", "jQuery")):
            continue
        yield from struck(script, call, (index,), page=True, built=not _escaped(text_of(call.arg(index))))


def _escaped(text: str) -> bool:
    return re.search(r"escape|sanitize|purify|encode", text, re.IGNORECASE) is not None


def _answers(script: Script) -> Iterator[Place]:
    for call in script.named("res.send", "res.write", "res.end", "response.send", "reply.send"):
        body = call.arg(0)
        if (
            body is None
            or body.type not in ("template_string", "binary_expression")
            or "<" not in text_of(body)
        ):
            continue
        yield from struck(script, call, (0,))


def _raw_markup(script: Script) -> Iterator[Place]:
    for node in script.of("jsx_attribute"):
        text = text_of(node)
        if not text.startswith("dangerouslySetInnerHTML") or _escaped(text):
            continue
        held = next(
            (p for p in below(node) if p.type == "pair" and "__html" in text_of(field(p, "key"))), None
        )
        value = field(held, "value") if held is not None else None
        if value is not None and not script.constant(value):
            yield script.place(node, Confidence.PATTERN)


def _pollution(script: Script) -> Iterator[Place]:
    yield from reaches(*MERGES, args=(1, 2))(script)
    for node in script.of("assignment_expression"):
        target = field(node, "left")
        holder = (
            field(target, "object") if target is not None and target.type == "subscript_expression" else None
        )
        if holder is None or target is None or holder.type != "subscript_expression":
            continue  # one level cannot reach the prototype's fields; two can
        origin = script.tainted(field(holder, "index"))
        if origin is not None:
            yield script.place(node, Confidence.POSSIBLE, "", origin)


RULES = (
    LanguageRule[Script](
        "js-command-injection", 78, "Command injection", Severity.CRITICAL,
        "a shell command is made from what a stranger sent",
        "Whoever sends the request runs programs on the server.",
        "Use execFile or spawn with an argument list and no shell, and check the values against a list.",
        bad="const { exec } = require('child_process');\n"
        "app.get('/ping', (req, res) => {\n  exec('ping -c 1 ' + req.query.host, (e, out) => res.send(out));\n});\n",
        good="const { execFile } = require('child_process');\n"
        "app.get('/ping', (req, res) => {\n  execFile('ping', ['-c', '1', '--', req.query.host], (e, out) => res.send(out));\n});\n",
        find=_commands,
    ),
    LanguageRule[Script](
        "js-code-injection", 95, "Code injection", Severity.CRITICAL,
        "a text that a stranger decides is run as code",
        "The text runs with everything the program may do.",
        "Parse data with JSON.parse; choose behaviour from a table of functions.",
        bad="app.post('/calc', (req, res) => { res.json(eval(req.body.formula)); });\n",
        good="app.post('/calc', (req, res) => { res.json(JSON.parse(req.body.formula)); });\n",
        find=reaches(
            *("eval", "Function", "vm.runInNewContext", "vm.runInThisContext", "vm.Script", "setTimeout", "setInterval"),
            args=(0,), built=False,
        ),
    ),
    LanguageRule[Script](
        "js-sql-injection", 89, "SQL injection", Severity.CRITICAL,
        "an SQL statement is put together from values",
        "A value with a quote in it changes what the statement does.",
        "Pass values as parameters: db.query('... WHERE id = $1', [id]).",
        bad="app.get('/u', async (req, res) => {\n  const sql = `SELECT * FROM users WHERE name = '${req.query.name}'`;\n"
        "  res.json(await db.query(sql));\n});\n",
        good="app.get('/u', async (req, res) => {\n  const sql = 'SELECT * FROM users WHERE name = $1';\n"
        "  res.json(await db.query(sql, [req.query.name]));\n});\n",
        find=_sql,
    ),
    LanguageRule[Script](
        "js-nosql-injection", 943, "Query operator injection", Severity.HIGH,
        "a part of the request is used as a database query without being made a text",
        "A body like {\"password\": {\"$ne\": 1}} matches every record.",
        "Make the value a text with String(value), or validate the body against a schema.",
        bad="app.post('/login', async (req, res) => {\n"
        "  const user = await User.findOne({ name: req.body.name, password: req.body.password });\n});\n",
        good="app.post('/login', async (req, res) => {\n"
        "  const user = await User.findOne({ name: `${req.body.name}` });\n});\n",
        find=_nosql,
    ),
    LanguageRule[Script](
        "js-path-traversal", 22, "Path traversal", Severity.HIGH,
        "a file is opened under a name that a stranger decides",
        "A name with ../ in it reaches any file the process may read.",
        "Resolve the path and check that it begins with the folder, or take path.basename of the name.",
        bad="const fs = require('fs');\napp.get('/f', (req, res) => {\n"
        "  fs.readFile('/srv/files/' + req.query.name, (e, data) => res.send(data));\n});\n",
        good="const fs = require('fs');\nconst path = require('path');\napp.get('/f', (req, res) => {\n"
        "  fs.readFile('/srv/files/' + path.basename(req.query.name), (e, data) => res.send(data));\n});\n",
        find=reaches(
            *(f"fs.{name}" for name in FILES), *(f"fs/promises.{name}" for name in FILES),
            "res.sendFile", "res.download", "fs-extra.readFile",
        ),
    ),
    LanguageRule[Script](
        "js-ssrf", 918, "Server-side request forgery", Severity.HIGH,
        "the server fetches an address that a stranger decides",
        "It can be made to ask services that only it can reach, such as cloud metadata.",
        "Compare the host of the parsed address with a list before fetching.",
        bad="const axios = require('axios');\napp.get('/p', async (req, res) => {\n"
        "  const page = await axios.get(req.query.url);\n  res.send(page.data);\n});\n",
        good="const axios = require('axios');\napp.get('/p', async (req, res) => {\n  const url = req.query.url;\n"
        "  if (!ALLOWED.has(url)) return res.status(400).end();\n  const page = await axios.get(url);\n});\n",
        find=reaches(*FETCHES),
    ),
    LanguageRule[Script](
        "js-open-redirect", 601, "Open redirect", Severity.MEDIUM,
        "the answer redirects to an address that a stranger decides",
        "A link to your site leads to somebody else's, which asks for the password again.",
        "Redirect to fixed paths, or check the address against a list.",
        bad="app.get('/go', (req, res) => { res.redirect(req.query.next); });\n",
        good="app.get('/go', (req, res) => { res.redirect('/items?next=' + encodeURIComponent(req.query.next)); });\n",
        find=_redirects,
    ),
    LanguageRule[Script](
        "js-page-xss", 79, "Cross-site scripting in the page", Severity.HIGH,
        "the page writes markup made from values",
        "Markup in the address of the page runs as script for whoever follows the link.",
        "Use textContent, or sanitise with DOMPurify first.",
        bad="document.getElementById('q').innerHTML = 'You searched ' + location.hash.slice(1);\n",
        good="document.getElementById('q').textContent = 'You searched ' + location.hash.slice(1);\n",
        find=_page_writes,
    ),
    LanguageRule[Script](
        "js-answer-xss", 79, "Cross-site scripting in an answer", Severity.HIGH,
        "an HTML answer holds what the request said, unescaped",
        "A link to your site runs somebody else's script in it.",
        "Render with a template engine that escapes, or escape the value.",
        bad="app.get('/hi', (req, res) => { res.send(`<h1>Hello ${req.query.name}</h1>`); });\n",
        good="app.get('/hi', (req, res) => { res.send(`<h1>Hello ${escapeHtml(req.query.name)}</h1>`); });\n",
        find=_answers,
    ),
    LanguageRule[Script](
        "js-raw-markup", 79, "Markup set without escaping", Severity.MEDIUM,
        "dangerouslySetInnerHTML gets a value that is not constant",
        "React escapes everything but this.",
        "Render the value as text, or sanitise it with DOMPurify in the same expression.",
        bad="export const Note = ({ text }) => <div dangerouslySetInnerHTML={{ __html: text }} />;\n",
        good="export const Note = ({ text }) => <div dangerouslySetInnerHTML={{ __html: DOMPurify.sanitize(text) }} />;\n",
        find=_raw_markup,
    ),
    LanguageRule[Script](
        "js-prototype-pollution", 1321, "Prototype pollution", Severity.HIGH,
        "keys that a stranger decides are written deep into an object",
        "The key __proto__ changes every object of the process.",
        "Use a Map, refuse __proto__ and constructor, or validate against a schema.",
        bad="const _ = require('lodash');\napp.post('/s', (req, res) => { _.merge(settings, req.body); });\n",
        good="app.post('/s', (req, res) => { settings.theme = String(req.body.theme); });\n",
        find=_pollution,
    ),
    LanguageRule[Script](
        "js-regex-injection", 1333, "Regular expression decided by a stranger", Severity.MEDIUM,
        "a regular expression is made from what a stranger sent",
        "One nested repetition keeps the only thread busy for minutes.",
        "Escape the value, or search for plain text with includes.",
        bad="app.get('/s', (req, res) => { res.json(items.filter((i) => new RegExp(req.query.q).test(i))); });\n",
        good="app.get('/s', (req, res) => { res.json(items.filter((i) => i.includes(req.query.q))); });\n",
        find=reaches("RegExp"),
    ),
    LanguageRule[Script](
        "js-template-injection", 1336, "Template injection", Severity.CRITICAL,
        "a template is compiled from what a stranger sent",
        "Templates run code on the server.",
        "Keep templates in files and pass the value as data.",
        bad="const ejs = require('ejs');\napp.post('/r', (req, res) => { res.send(ejs.render(req.body.template, {})); });\n",
        good="const ejs = require('ejs');\napp.post('/r', (req, res) => { res.send(ejs.render(PAGE, { text: req.body.text })); });\n",
        find=reaches(
            *("ejs.render", "ejs.compile", "pug.render", "pug.compile", "handlebars.compile", "Handlebars.compile"),
            *("nunjucks.renderString", "mustache.render", "lodash.template", "_.template", "doT.template"),
        ),
    ),
    LanguageRule[Script](
        "js-unsafe-deserialisation", 502, "Unsafe deserialisation", Severity.CRITICAL,
        "a stranger's text is turned into objects by a format that carries functions",
        "Reading it runs the functions in it.",
        "Use JSON.parse.",
        bad="const serialize = require('node-serialize');\n"
        "app.get('/', (req, res) => { const s = serialize.unserialize(req.cookies.profile); });\n",
        good="app.get('/', (req, res) => { const s = JSON.parse(req.cookies.profile); });\n",
        find=reaches("node-serialize.unserialize", "serialize-to-js.deserialize", "funcster.deepDeserialize", "v8.deserialize"),
    ),
)  # fmt: skip
