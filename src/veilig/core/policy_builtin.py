"""What holds where nobody wrote a veilig.yaml? The built-in policy, as a file like any other."""

NAME = "built-in"

# Commands run inside the wall, in a throw-away copy, without network: none can do more than the project's
# own tests, so none is asked about. What leaves the copy asks; what is not named is refused. A model is asked
# only when the person at the terminal names it: a project cannot.
TEXT = """\
mode: propose
agent:
  commands:
    - {argv: ["**"], all: true}
  unlisted_commands: ask
  paths: {read: ["**"], write: ["**"], deny: []}
  apply: ask
  branch: ask
  tests: allow
  desktop: allow
  hosts: []
  secrets:
    - name: "*"
      all: true
      from: [file, pattern]
      to: [file.write, file.patch, command.run, tests.run, repair.search, workspace.apply, git.branch]
models: {allowed: ["*"], all: true}
"""
