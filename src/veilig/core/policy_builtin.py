"""What holds where nobody wrote a veilig.yaml? The built-in policy, as a file like any other."""

NAME = "built-in"

# Everything here happens inside the wall, in a throw-away copy, without network: a listed command can do
# no more than the project's own tests. What leaves the copy asks; what is not named is refused.
TEXT = """\
mode: propose
agent:
  commands:
    - [python, "**"]
    - [python3, "**"]
    - [pytest, "**"]
    - [git, status, "**"]
    - [git, diff, "**"]
    - [git, log, "**"]
    - [git, show, "**"]
    - [git, blame, "**"]
    - [git, ls-files, "**"]
    - [git, rev-parse, "**"]
    - [ls, "**"]
    - [cat, "**"]
    - [head, "**"]
    - [tail, "**"]
    - [wc, "**"]
    - [sort, "**"]
    - [grep, "**"]
    - [rg, "**"]
    - [find, "**"]
    - [diff, "**"]
    - [ruff, "**"]
    - [pyright, "**"]
    - [mypy, "**"]
  unlisted_commands: ask
  paths: {read: ["**"], write: ["**"], deny: []}
  apply: ask
  branch: ask
  tests: allow
  hosts: []
  secrets:
    - name: "*"
      all: true
      from: [file, pattern]
      to: [file.write, file.patch, command.run, tests.run, repair.search, workspace.apply, git.branch]
models: {allowed: []}
"""
