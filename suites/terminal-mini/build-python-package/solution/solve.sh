cat > /app/pyproject.toml <<'T'
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "tidy-units"
version = "1.2.0"
requires-python = ">=3.11"

[project.scripts]
tidy-units = "tidy_units.cli:main"

[tool.hatch.build.targets.wheel]
packages = ["src/tidy_units"]
T
