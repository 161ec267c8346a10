"""Which miniature projects fail while they run, and have a history or not?"""
# ruff: noqa: E501  (small files as one string)

from case import INI, Case, module

CRASH = (
    module("crash", "None is not guarded", "def initials(name):\n    return name.strip()[:1].upper()\n",
           "from app import initials\n\n\ndef test_initials():\n    assert initials('ann') == 'A'\n\n\ndef test_none():\n    assert initials(None) == ''\n"),
    module("crash", "None in a loop", "def total(rows):\n    result = 0\n    for row in rows:\n        result += row\n    return result\n",
           "from app import total\n\n\ndef test_total():\n    assert total([1, 2]) == 3\n\n\ndef test_none():\n    assert total(None) == 0\n"),
    module("crash", "missing key", "def port(config):\n    return config['port'] or 80\n",
           "from app import port\n\n\ndef test_port():\n    assert port({'port': 8080}) == 8080\n\n\ndef test_default():\n    assert port({}) == 80\n", r"\.get\("),
    module("crash", "misspelt key", "CONFIG = {'timeout': 30, 'host': 'db'}\n\n\ndef timeout():\n    return CONFIG['timout']\n",
           "from app import timeout\n\n\ndef test_timeout():\n    assert timeout() == 30\n", "timeout'"),
    module("crash", "counting keys", "def count(words):\n    found = {}\n    for word in words:\n        found[word] += 1\n    return found\n",
           "from app import count\n\n\ndef test_count():\n    assert count(['a', 'b', 'a']) == {'a': 2, 'b': 1}\n"),
    module("crash", "empty list", "def first(items):\n    return items[0]\n",
           "from app import first\n\n\ndef test_first():\n    assert first([4, 5]) == 4\n\n\ndef test_empty():\n    assert first([]) is None\n"),
    module("crash", "index one too far", "def pairs(xs):\n    return [(xs[i], xs[i + 1]) for i in range(len(xs))]\n",
           "from app import pairs\n\n\ndef test_pairs():\n    assert pairs([1, 2, 3]) == [(1, 2), (2, 3)]\n"),
    module("crash", "division by zero", "def mean(xs):\n    return sum(xs) / len(xs)\n",
           "from app import mean\n\n\ndef test_mean():\n    assert mean([2, 4]) == 3\n\n\ndef test_empty():\n    assert mean([]) == 0\n"),
    module("crash", "text plus number", "def label(name, n):\n    return name + ' ' + n\n",
           "from app import label\n\n\ndef test_label():\n    assert label('row', 3) == 'row 3'\n", r"str\(n\)|\{n\}"),
    module("crash", "number read as text", "def next_port(environ):\n    return environ['PORT'] + 1\n",
           "from app import next_port\n\n\ndef test_port():\n    assert next_port({'PORT': '80'}) == 81\n", r"int\("),
    module("crash", "bytes where text is meant", "import hashlib\n\n\ndef short(text):\n    return hashlib.sha256(text).hexdigest()[:4]\n",
           "from app import short\n\n\ndef test_short():\n    assert short('a') == 'ca97'\n", "encode"),
    module("crash", "text where bytes are read", "def fields(raw):\n    return raw.split(',')\n",
           "from app import fields\n\n\ndef test_fields():\n    assert fields(b'a,b') == ['a', 'b']\n", "decode"),
    module("crash", "missing await",
           "async def fetch(n):\n    return n + 1\n\n\nasync def double(n):\n    value = fetch(n)\n    return value * 2\n",
           "import asyncio\n\nfrom app import double\n\n\ndef test_double():\n    assert asyncio.run(double(2)) == 6\n", "await fetch"),
    module("crash", "returned without await",
           "async def fetch(n):\n    return {'n': n}\n\n\nasync def value(n):\n    return fetch(n)['n']\n",
           "import asyncio\n\nfrom app import value\n\n\ndef test_value():\n    assert asyncio.run(value(2)) == 2\n", r"\(await fetch"),
    module("crash", "call never awaited",
           "LOG = []\n\n\nasync def note(text):\n    LOG.append(text)\n\n\nasync def work():\n    note('done')\n    return LOG\n",
           "import asyncio\n\nfrom app import work\n\n\ndef test_work():\n    assert asyncio.run(work()) == ['done']\n", "await note"),
    module("crash", "missing return", "def add(a, b):\n    total = a + b\n",
           "from app import add\n\n\ndef test_add():\n    assert add(2, 3) == 5\n", r"return"),
    module("crash", "missing return in a branch", "def grade(n):\n    if n >= 50:\n        result = 'pass'\n    else:\n        result = 'fail'\n",
           "from app import grade\n\n\ndef test_grade():\n    assert grade(60) == 'pass'\n    assert grade(10) == 'fail'\n", r"return result"),
    module("crash", "mutable default", "def collect(item, into=[]):\n    into.append(item)\n    return into\n",
           "from app import collect\n\n\ndef test_one():\n    assert collect(1) == [1]\n\n\ndef test_two():\n    assert collect(2) == [2]\n", "None"),
    module("crash", "mutable default of a class", "class Cart:\n    items = []\n\n    def add(self, item):\n        self.items.append(item)\n",
           "from app import Cart\n\n\ndef test_cart():\n    one, two = Cart(), Cart()\n    one.add(1)\n    assert two.items == []\n    assert one.items == [1]\n", "self.items"),
    module("crash", "dict changed during iteration", "def clean(d):\n    for key in d:\n        if d[key] is None:\n            del d[key]\n    return d\n",
           "from app import clean\n\n\ndef test_clean():\n    assert clean({'a': None, 'b': 1}) == {'b': 1}\n", r"list\(|\.copy\("),
    module("crash", "dict items changed during iteration", "def clean(d):\n    for key, value in d.items():\n        if not value:\n            d.pop(key)\n    return d\n",
           "from app import clean\n\n\ndef test_clean():\n    assert clean({'a': 0, 'b': 1}) == {'b': 1}\n", r"list\(|\.copy\("),
    module("crash", "list changed during iteration", "def odd(xs):\n    for x in xs:\n        if x % 2 == 0:\n            xs.remove(x)\n    return xs\n",
           "from app import odd\n\n\ndef test_odd():\n    assert odd([2, 4, 6, 7]) == [7]\n", r"list\(|\.copy\(|\[:\]"),
    module("crash", "generator used twice", "def spread(xs):\n    big = (x * 2 for x in xs)\n    return max(big) - min(big)\n",
           "from app import spread\n\n\ndef test_spread():\n    assert spread([1, 3]) == 4\n", r"list\(|\["),
    module("crash", "map used twice", "def spread(xs):\n    big = map(int, xs)\n    return max(big) - min(big)\n",
           "from app import spread\n\n\ndef test_spread():\n    assert spread(['1', '3']) == 2\n", r"list\("),
    module("crash", "file read in the wrong encoding", "def load(path):\n    with open(path, encoding='ascii') as file:\n        return file.read()\n",
           "from app import load\n\n\ndef test_load(tmp_path):\n    path = tmp_path / 'a.txt'\n    path.write_bytes('é'.encode())\n    assert load(path) == 'é'\n", "utf-8"),
    module("crash", "naive and aware times", "from datetime import datetime\n\n\ndef age(then):\n    return datetime.now() - then\n",
           "from datetime import datetime, timezone\n\nfrom app import age\n\n\ndef test_age():\n    assert age(datetime(2020, 1, 1, tzinfo=timezone.utc)).days > 1000\n", r"now\((UTC|timezone|tz|then)"),
    module("crash", "utcnow against aware", "from datetime import datetime\n\n\ndef late(due):\n    return datetime.utcnow() > due\n",
           "from datetime import datetime, timezone\n\nfrom app import late\n\n\ndef test_late():\n    assert late(datetime(2020, 1, 1, tzinfo=timezone.utc))\n", r"now\((UTC|timezone|tz)"),
    module("crash", "percent with a tuple", "def show(point):\n    return 'at %s' % point\n",
           "from app import show\n\n\ndef test_show():\n    assert show((1, 2)) == 'at (1, 2)'\n", r"\(point,\)|\{point\}"),
    module("crash", "too narrow except", "def number(text):\n    try:\n        return int(text)\n    except ValueError:\n        return 0\n",
           "from app import number\n\n\ndef test_number():\n    assert number('x') == 0\n\n\ndef test_none():\n    assert number(None) == 0\n", "TypeError"),
    module("crash", "identity of a literal", "def is_large(name):\n    return name is 'large'\n",
           "from app import is_large\n\n\ndef test_large():\n    assert is_large(''.join(['lar', 'ge']))\n", "=="),
    module("crash", "shared default of a dict", "DEFAULTS = {'tags': []}\n\n\ndef make():\n    return dict(DEFAULTS)\n",
           "from app import make\n\n\ndef test_make():\n    make()['tags'].append(1)\n    assert make() == {'tags': []}\n", "deepcopy"),
    module("crash", "rows that share one list", "def grid(n):\n    return [[0] * n] * n\n",
           "from app import grid\n\n\ndef test_grid():\n    g = grid(2)\n    g[0][0] = 1\n    assert g == [[1, 0], [0, 0]]\n", "for _ in range"),
    module("crash", "global without a statement", "COUNT = 0\n\n\ndef up():\n    COUNT += 1\n    return COUNT\n",
           "from app import up\n\n\ndef test_up():\n    assert up() >= 1\n", "global COUNT"),
    module("crash", "join of numbers", "def row(xs):\n    return ','.join(xs)\n",
           "from app import row\n\n\ndef test_row():\n    assert row([1, 2]) == '1,2'\n", r"map\(str|str\("),
    module("crash", "JSON of a time", "import json\nfrom datetime import date\n\n\ndef dump(day):\n    return json.dumps({'day': day})\n\n\ndef today():\n    return date.today()\n",
           "from datetime import date\n\nfrom app import dump\n\n\ndef test_dump():\n    assert dump(date(2020, 1, 2)) == '{\"day\": \"2020-01-02\"}'\n", r"default=str|isoformat|str\("),
    module("crash", "file not closed before it is read", "def save(path, text):\n    file = open(path, 'w')\n    file.write(text)\n    return path.read_text()\n",
           "from app import save\n\n\ndef test_save(tmp_path):\n    assert save(tmp_path / 'a', 'x') == 'x'\n", r"with open|close\(|flush"),
    module("crash", "folder that is not there yet", "def save(path, text):\n    path.write_text(text)\n    return path\n",
           "from app import save\n\n\ndef test_save(tmp_path):\n    assert save(tmp_path / 'new' / 'a', 'x').read_text() == 'x'\n", "mkdir"),
    module("crash", "unpacking too few", "def split(pair):\n    key, value = pair.split('=')\n    return key, value\n",
           "from app import split\n\n\ndef test_split():\n    assert split('a=b') == ('a', 'b')\n\n\ndef test_more():\n    assert split('a=b=c') == ('a', 'b=c')\n", r"'=', 1|maxsplit"),
)  # fmt: skip

_SHOP = "from app import price\n\n\ndef test_small():\n    assert price(1) == 10\n\n\ndef test_many():\n    assert price(20) == 180\n"
_GOOD = "RATE = 10\nMANY = 12\n\n\ndef rebate(count):\n    if count >= MANY:\n        return 0.9\n    return 1\n\n\ndef price(count):\n    full = count * RATE\n    return full * rebate(count)\n"
_BAD = "RATE = 10\nMANY = 12\n\n\ndef rebate(count):\n    rates = sorted([count, MANY])\n    return rates[0] / rates[1]\n\n\ndef price(count):\n    full = count * RATE\n    return full * rebate(count)\n"
_MORE = _BAD + "\n\ndef label(count):\n    return f'{count} pieces'\n"
_PARSE = "def parse(line):\n    name, _, rest = line.partition(':')\n    parts = [p.strip() for p in rest.split(',')]\n    return {name.strip(): [p for p in parts if p]}\n"
_PARSE_BAD = "import re\n\n\ndef parse(line):\n    match = re.match(r'(\\w+):(.*)', line)\n    name, rest = match.groups()\n    return {name: rest.split(',')}\n"
_PARSE_TEST = "from app import parse\n\n\ndef test_parse():\n    assert parse('a: 1, 2') == {'a': ['1', '2']}\n\n\ndef test_empty():\n    assert parse('b : ') == {'b': []}\n"


def _tree(source: str, test: str) -> dict[str, str]:
    return {**INI, "app.py": source, "tests/test_app.py": test}


HISTORY = (
    Case("history", "uncommitted edit broke it", _tree(_BAD, _SHOP), r"\+.*return 0\.9", [("Sell by the dozen", _tree(_GOOD, _SHOP))]),
    Case("history", "last commit broke it", _tree(_BAD, _SHOP), r"\+.*return 0\.9",
         [("Sell by the dozen", _tree(_GOOD, _SHOP))], committed=True),
    Case("history", "broken two commits ago", _tree(_MORE, _SHOP), r"\+.*return 0\.9",
         [("Sell by the dozen", _tree(_GOOD, _SHOP)), ("Smooth rebates", _tree(_BAD, _SHOP))], committed=True),
    Case("history", "rewrite of a parser", _tree(_PARSE_BAD, _PARSE_TEST), "partition",
         [("Parse lines", _tree(_PARSE, _PARSE_TEST))], committed=True),
    Case("history", "one of two files broke it",
         {**_tree("import rates\n\n\ndef price(n):\n    return n * rates.rate(n)\n",
                  "from app import price\n\n\ndef test_price():\n    assert price(3) == 30\n    assert price(20) == 180\n"),
          "rates.py": "def rate(n):\n    return {True: 9}[n > 12]\n"}, r"\+.*9 if n > 12",
         [("First", {**_tree("from rates import rate\n\n\ndef price(n):\n    return n * rate(n)\n",
                             "from app import price\n\n\ndef test_price():\n    assert price(3) == 30\n    assert price(20) == 180\n"),
                     "rates.py": "def rate(n):\n    return 9 if n > 12 else 10\n"})], committed=True),
)  # fmt: skip
