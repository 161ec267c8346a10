"""Rules for XML parsers and template environments."""

import re

from veilig.audit.engine.frame import CallSite, Frame
from veilig.audit.engine.state import truth
from veilig.audit.finding import Confidence, Severity
from veilig.audit.rules.conditions import (
    given_true,
    is_dynamic,
    keyword_is,
    missing,
    text_of,
)
from veilig.audit.rules.rule import Check, Rule, Sink

PARSE_CALLS = (
    ".parse",
    "xml.dom.minidom.parse",
    "xml.dom.minidom.parseString",
    "xml.dom.pulldom.parse",
    "xml.dom.pulldom.parseString",
    "xml.sax.parse",
    "xml.sax.parseString",
)
_SWITCHED_ON = re.compile(r"setFeature\([^,\n]*external[_-]g(es|eneral)[^,\n]*,\s*(True|1)\b")


def _external(frame: Frame, site: CallSite) -> bool:
    name = text_of(site.arg(0))
    known = "feature_external_ges" in name or "external-general-entities" in name
    return known and len(site.args) > 1 and truth(frame.state, site.args[1]) is True


def _own_text(frame: Frame) -> str:
    if frame.func is None:
        return "\n".join(frame.module.lines)
    node = frame.func.node
    return "\n".join(frame.module.lines[node.lineno - 1 : node.end_lineno or node.lineno])


def _parsing(frame: Frame) -> bool:
    """The function that switches entities on also parses: what it parses decides."""
    return re.search(r"\.parse(String)?\(", _own_text(frame)) is not None


def _parses_external(frame: Frame, site: CallSite) -> bool:
    """Entities were switched on in this function, and the text is not one the source knows."""
    return is_dynamic(site.arg(0)) and _SWITCHED_ON.search(_own_text(frame)) is not None


XXE = Rule(
    id="xml-external-entities",
    cwe=611,
    title="XML external entities",
    severity=Severity.HIGH,
    what="XML is parsed with external entities allowed",
    why="CWE-611: an entity reads files or reaches internal addresses",
    advice="lxml: XMLParser(resolve_entities=False, no_network=True); otherwise defusedxml",
    silent="resolve_entities=False, defusedxml, xml.etree with its defaults",
    fix_id="xml-parser",
    kind="xml",
    flow_confidence=Confidence.POSSIBLE,
    sinks=(
        Sink(
            ("lxml.etree.fromstring", "lxml.etree.XML", "lxml.etree.parse"),
            (0,),
            lambda _frame, site: len(site.args) < 2 and "parser" not in site.kwargs,
        ),
        Sink(
            (
                "xml.dom.pulldom.parseString",
                "xml.dom.pulldom.parse",
                "xml.sax.parseString",
                "xml.sax.parse",
                "xml.dom.minidom.parseString",
                "xml.dom.minidom.parse",
                "xml.dom.expatbuilder.parseString",
                "xml.sax.expatreader.create_parser().parse",
                "xmlrpc.client.loads",
            ),
            (0,),
            lambda _frame, site: (
                (len(site.args) < 2 and "parser" not in site.kwargs) or "sax.parse" in site.qual
            ),
        ),
    ),
    checks=(
        Check(("lxml.etree.XMLParser", "lxml.etree.XMLPullParser"), given_true(99, "resolve_entities")),
        Check(("lxml.etree.XMLParser",), given_true(99, "load_dtd")),
        Check(("lxml.etree.XMLParser",), keyword_is(99, "no_network", False)),
        Check((".setFeature",), lambda frame, site: _external(frame, site) and not _parsing(frame)),
        Check(PARSE_CALLS, _parses_external),
    ),
    bad="from lxml import etree\ndef read(data):\n"
    "    return etree.fromstring(data, etree.XMLParser(resolve_entities=True))\n",
    good="from lxml import etree\ndef read(data):\n"
    "    return etree.fromstring(data, etree.XMLParser(resolve_entities=False))\n",
)

AUTOESCAPE = Rule(
    id="autoescape-off",
    cwe=79,
    title="templates without escaping",
    severity=Severity.HIGH,
    what="a template environment does not escape",
    why="CWE-79: every value of every page may carry a script",
    advice="Environment(autoescape=True) or select_autoescape()",
    silent="autoescape=True, select_autoescape(), environments that are not for pages",
    fix_id="autoescape-on",
    checks=(
        Check(("jinja2.Environment",), keyword_is(99, "autoescape", False)),
        Check(("jinja2.Environment",), missing(99, "autoescape"), Confidence.POSSIBLE),
    ),
    bad="import jinja2\nenv = jinja2.Environment(autoescape=False)\n",
    good="import jinja2\nenv = jinja2.Environment(autoescape=True)\n",
)

RULES = (
    XXE,
    AUTOESCAPE,
)
