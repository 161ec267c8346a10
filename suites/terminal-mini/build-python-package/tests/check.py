import tomllib

given = tomllib.load(open("/app/pyproject.toml", "rb"))
project = given["project"]
assert project["name"] == "tidy-units" and project["version"] == "1.2.0"
assert "dynamic" not in project or "version" not in project["dynamic"]
assert project["requires-python"].replace(" ", "") in (">=3.11", ">=3.11.0")
assert not project.get("dependencies")
assert project["scripts"] == {"tidy-units": "tidy_units.cli:main"}
build = given["build-system"]
assert build["build-backend"] == "hatchling.build"
assert any(word.startswith("hatchling") for word in build["requires"])
packages = given["tool"]["hatch"]["build"]["targets"]["wheel"]
assert packages.get("packages") == ["src/tidy_units"] or packages.get("sources"), packages
assert open("/app/src/tidy_units/cli.py").read().startswith("def main")
