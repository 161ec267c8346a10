"""The part of Helm's templates that our chart uses, and whether what comes out are objects of Kubernetes.

`helm` is a program in Go that not every machine has; what it would refuse in other charts is not looked at.
"""

import re
from pathlib import Path
from typing import Any, cast

import yaml


class Chart:
    """A chart's folder, rendered with its values and those that are given."""

    def __init__(self, folder: Path, **values: Any) -> None:
        self._chart = yaml.safe_load((folder / "Chart.yaml").read_text())
        self._values = _merged(yaml.safe_load((folder / "values.yaml").read_text()), values)
        self._parts: dict[str, str] = {}
        for file in (folder / "templates").glob("*.tpl"):
            found = re.findall(
                r'\{\{- define "(.*?)" -\}\}\n(.*?)\{\{- end \}\}\n(?=\n|\Z)', file.read_text(), re.DOTALL
            )
            self._parts |= dict(found)
        self._files = sorted((folder / "templates").glob("*.yaml"))

    def objects(self) -> list[dict[str, Any]]:
        """Every object of every template."""
        texts = [self._render(file.read_text()) for file in self._files]
        return [one for text in texts for one in yaml.safe_load_all(text) if one]

    def _render(self, text: str) -> str:
        """Conditions first, innermost last; then what stands for a value."""
        line = re.compile(r"^[ \t]*\{\{- (if .*?|else|end) \}\}[ \t]*\n?", re.MULTILINE)
        out, keep, at = list[str](), [True], 0
        for tag in line.finditer(text):
            if all(keep):
                out.append(text[at : tag.start()])
            at = tag.end()
            match tag[1].split(" ", 1):
                case ["if", condition]:
                    keep.append(bool(self._value(condition)))
                case ["else"]:
                    keep[-1] = not keep[-1]
                case _:
                    keep.pop()
        assert keep == [True], "an if without its end"
        text = "".join(out) + text[at:]
        text = re.sub(r"\s*\{\{- (.*?) \}\}", lambda m: self._value(m[1]), text)
        return re.sub(r"\{\{ (.*?) \}\}", lambda m: _plain(self._value(m[1])), text)

    def _value(self, code: str) -> Any:
        first, *pipes = [part.strip() for part in code.split("|")]
        words = first.split()
        if words[0] == "include":
            value: Any = self._render(self._parts[words[1].strip('"')]).rstrip("\n")
        elif words[0] == "toYaml":
            value = yaml.safe_dump(self._find(words[1])).rstrip("\n")
        else:
            value = self._find(words[0])
        for pipe in pipes:
            match pipe.split():
                case ["quote"]:
                    value = f'"{value}"'
                case ["nindent", width]:
                    value = "".join(
                        f"\n{' ' * int(width)}{row}" if row else "\n" for row in str(value).split("\n")
                    )
                case ["default", other]:
                    value = value or self._find(other)
                case _:
                    raise AssertionError(f"{pipe!r} is not known here")
        return value

    def _find(self, path: str) -> Any:
        if path.startswith(".Values."):
            value: Any = self._values
            for name in path.removeprefix(".Values.").split("."):
                value = value[name]  # KeyError: values.yaml lacks it
            return value
        return {".Release.Name": "one", ".Chart.AppVersion": self._chart["appVersion"]}[path]


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _merged(base: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    found = dict(base)
    for key, value in more.items():
        inner = isinstance(value, dict) and isinstance(found.get(key), dict)
        found[key] = _merged(found[key], cast("dict[str, Any]", value)) if inner else value
    return found


def unknown(value: Any, model: str) -> list[str]:
    """Keys that this kind of object does not have, and required ones that are missing."""
    from kubernetes import client

    if value is None or model in ("object", "str", "int", "bool", "float", "datetime", "IntOrString"):
        return []
    if inner := re.fullmatch(r"[Ll]ist\[(.*)\]", model):
        return [f"[{at}]{p}" for at, one in enumerate(value) for p in unknown(one, inner[1])]
    if inner := re.fullmatch(r"[Dd]ict[\[(]str, (.*)[\])]", model):
        return [f".{key}{p}" for key, one in value.items() for p in unknown(one, inner[1])]
    kind: Any = getattr(client, model)
    names = {shown: name for name, shown in kind.attribute_map.items()}
    wrong = [f".{key} is unknown to {model}" for key in value if key not in names]
    for shown, name in names.items():
        if shown in value:
            wrong += [f".{shown}{p}" for p in unknown(value[shown], kind.openapi_types[name])]
    try:
        kind(**{names[key]: one for key, one in value.items() if key in names})
    except ValueError as error:
        wrong.append(f": {error}")
    return wrong
