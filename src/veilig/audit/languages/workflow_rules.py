"""Which weaknesses are looked for in GitHub workflows?"""

import re
from collections.abc import Iterator

from veilig.audit.finding import Confidence, Severity
from veilig.audit.languages.rule import LanguageRule, Place
from veilig.audit.languages.yamltree import Item, Yaml

FOREIGN = re.compile(
    r"\$\{\{[^}]*\b(?:github\.event\.(?:issue|pull_request|discussion|comment|review|review_comment|workflow_run|commits|"
    r"head_commit|pages|inputs)\b[^}]*\b(?:title|body|ref|label|name|email|message|head_branch|page_name|default_branch|inputs[^}]*)"
    r"|github\.head_ref|github\.event\.inputs\.\w+)[^}]*\}\}"
)
INPUT = re.compile(r"\$\{\{\s*(?:inputs\.\w+|github\.event\.inputs\.\w+)\s*\}\}")
NO_SECRET = re.compile(
    r"\$\{\{|^\$|^(?:read|write|none|inherit|true|false)$|test|example|dummy|postgres|root|\s", re.IGNORECASE
)
OURS = ("actions/", "github/")
SHA = re.compile(r"@[0-9a-f]{40}$")


def triggers(file: Yaml) -> set[str]:
    """The events that start the workflow."""
    found: set[str] = set()
    for document in file.documents:
        for key in ("on", "true"):
            item = document.get(key)
            found |= set(item.texts) | item.keys()
    return found


def _jobs(file: Yaml) -> Iterator[tuple[str, Item]]:
    for document in file.documents:
        yield from document.get("jobs").items()


def _steps(file: Yaml) -> Iterator[Item]:
    for document in file.documents:
        yield from document.get("runs", "steps").each()
    for _, job in _jobs(file):
        yield from job.get("steps").each()


def _scripts(file: Yaml) -> Iterator[Item]:
    for step in _steps(file):
        if step.get("run"):
            yield step.get("run")
        if step.get("uses").text.startswith("actions/github-script"):
            yield step.get("with", "script")


def _injected(file: Yaml) -> Iterator[Place]:
    for script in _scripts(file):
        match = FOREIGN.search(script.text)
        if match is not None and not INPUT.fullmatch(match[0]):
            yield script.place(Confidence.CERTAIN, match[0][:60])
        elif INPUT.search(script.text):
            yield script.place(Confidence.PATTERN, "an input")


def _foreign_checkout(file: Yaml) -> Iterator[Place]:
    if not triggers(file) & {"pull_request_target", "workflow_run", "issue_comment"}:
        return
    for step in _steps(file):
        ref = step.get("with", "ref")
        taken = re.search(r"head[._](?:sha|ref)|head_ref|refs/pull/|pull_request\.number", ref.text)
        if step.get("uses").text.startswith("actions/checkout") and taken:
            yield ref.place(Confidence.CERTAIN, ref.text[:60])
    for script in _scripts(file):
        if re.search(
            r"gh pr checkout|git (?:fetch|checkout)[^\n]*(?:refs/pull|head_ref|head\.ref)", script.text
        ):
            yield script.place(Confidence.CERTAIN)


def _moving(file: Yaml) -> Iterator[Place]:
    items = [step.get("uses") for step in _steps(file)] + [job.get("uses") for _, job in _jobs(file)]
    for uses in items:
        text = uses.text
        if not text or text.startswith(("./", "docker://")) or SHA.search(text):
            continue
        branch = re.search(r"@(?:main|master|latest|HEAD|develop)$", text) is not None or "@" not in text
        sure = Confidence.CERTAIN if branch or not text.startswith(OURS) else Confidence.PATTERN
        yield uses.place(sure, text)


def _rights(file: Yaml) -> Iterator[Place]:
    holders = [*file.documents, *(job for _, job in _jobs(file))]
    for holder in holders:
        given = holder.get("permissions")
        if given.text == "write-all":
            yield given.place(Confidence.CERTAIN, "write-all")
    for document in file.documents:
        jobs = [job for _, job in document.get("jobs").items()]
        if jobs and not document.get("permissions") and not all(j.get("permissions") for j in jobs):
            yield document.get("jobs").place(Confidence.PATTERN, "no permissions")


def _shown(file: Yaml) -> Iterator[Place]:
    for script in _scripts(file):
        if re.search(
            r"(?:echo|printf|cat|console\.log)[^\n|>]*\$\{\{\s*secrets\.[^}]*\}\}[^\n|>]*(?:\n|$)",
            script.text,
        ):
            yield script.place(Confidence.CERTAIN)


def _all_secrets(file: Yaml) -> Iterator[Place]:
    for document in file.documents:
        for key, item in document.below():
            if "toJSON(secrets)" in item.text.replace(" ", "") or re.search(r"secrets\[(?!')", item.text):
                yield item.place(Confidence.CERTAIN, "every secret")
            elif key == "secrets" and item.text == "inherit":
                yield item.place(Confidence.PATTERN, "inherit")


def _old_commands(file: Yaml) -> Iterator[Place]:
    for document in file.documents:
        for key, item in document.below():
            if key == "ACTIONS_ALLOW_UNSECURE_COMMANDS" and item.on:
                yield item.place()


def _environment(file: Yaml) -> Iterator[Place]:
    for script in _scripts(file):
        for line in script.text.splitlines():
            written = re.search(r">>\s*[\"']?\$\{?(?:GITHUB_ENV|GITHUB_PATH)\b", line)
            if written and (
                FOREIGN.search(line)
                or re.search(r"\$\(\s*cat\s|\bcurl\b|\$\{?(?:TITLE|BODY|HEAD_REF)\b", line)
            ):
                yield script.place(Confidence.POSSIBLE, line.strip()[:60])
                break


def _by_name(file: Yaml) -> Iterator[Place]:
    items = [job.get("if") for _, job in _jobs(file)] + [step.get("if") for step in _steps(file)]
    for item in items:
        if re.search(r"github\.actor\s*==\s*['\"][\w-]+\[bot\]['\"]", item.text):
            yield item.place(Confidence.CERTAIN, item.text[:60])


def _own_machines(file: Yaml) -> Iterator[Place]:
    if not triggers(file) & {"pull_request", "pull_request_target", "issue_comment"}:
        return
    for _, job in _jobs(file):
        runner = job.get("runs-on")
        if "self-hosted" in runner.texts:
            yield runner.place(Confidence.POSSIBLE)


def _piped(file: Yaml) -> Iterator[Place]:
    for script in _scripts(file):
        match = re.search(r"\b(?:curl|wget)\b[^;&\n]*\|\s*(?:sudo\s+)?(?:ba|z)?sh\b", script.text)
        if match:
            yield script.place(Confidence.CERTAIN, match[0][:60])


def _kept_credentials(file: Yaml) -> Iterator[Place]:
    for _, job in _jobs(file):
        steps = list(job.get("steps").each())
        kept = [
            s
            for s in steps
            if s.get("uses").text.startswith("actions/checkout")
            and not s.get("with", "persist-credentials").off
        ]
        whole = [
            s
            for s in steps
            if "upload-artifact" in s.get("uses").text
            and s.get("with", "path").text.strip() in (".", "./", "${{ github.workspace }}")
        ]
        for step in whole if kept else ():
            yield step.get("with", "path").place(Confidence.CERTAIN)


def _written(file: Yaml) -> Iterator[Place]:
    for document in file.documents:
        for key, item in document.below():
            named = re.search(r"passw(?:or)?d|secret|token|api_?key$", key, re.IGNORECASE)
            if named and len(item.text) >= 8 and not NO_SECRET.search(item.text):
                yield item.place(Confidence.CERTAIN, key)


def _wf(body: str, on: str = "[push]") -> str:
    return f"on: {on}\npermissions: {{}}\njobs:\n  a:\n    runs-on: ubuntu-24.04\n    steps:\n{body}"


_PIN = "0" * 40
_R = LanguageRule[Yaml]
RULES = (
    _R("gha-script-injection", 94, "Words of a stranger in a script", Severity.CRITICAL,
       "a script is put together with a title, a branch or a comment", "A branch called `$(...)` runs with the workflow's token.",
       "Put the value into env and use \"$TITLE\" in the script.",
       bad=_wf("      - run: echo \"${{ github.event.pull_request.title }}\"\n"),
       good=_wf("      - run: echo \"$TITLE\"\n        env: { TITLE: \"${{ github.event.pull_request.title }}\" }\n"), find=_injected),
    _R("gha-foreign-checkout", 829, "A stranger's code with our secrets", Severity.CRITICAL,
       "a privileged workflow checks out what a pull request brings", "Its build runs with write access and secrets.",
       "Build in pull_request; do privileged work on its artifacts, as data.",
       bad=_wf(f"      - uses: actions/checkout@{_PIN}\n        with: {{ ref: \"${{{{ github.event.pull_request.head.sha }}}}\" }}\n", "pull_request_target"),
       good=_wf(f"      - uses: actions/checkout@{_PIN}\n        with: {{ ref: \"${{{{ github.event.pull_request.head.sha }}}}\" }}\n", "pull_request"),
       find=_foreign_checkout),
    _R("gha-moving-action", 1357, "Action that moves", Severity.LOW, "an action is named by a tag or branch",
       "Who can move the tag runs code with this workflow's token.", "Name the commit, with the version as a comment.",
       bad=_wf("      - uses: someone/deploy@v2\n"), good=_wf(f"      - uses: someone/deploy@{_PIN} # v2\n"), find=_moving),
    _R("gha-all-rights", 269, "Token with every right", Severity.MEDIUM, "the token may write everything",
       "One changed action is enough to change code, releases and packages.", "Give `permissions: { contents: read }` and what a job needs more.",
       bad="on: [push]\npermissions: write-all\njobs: { a: { runs-on: x, steps: [] } }\n",
       good="on: [push]\npermissions: { contents: read }\njobs: { a: { runs-on: x, steps: [] } }\n", find=_rights),
    _R("gha-secret-shown", 532, "Secret in the log", Severity.MEDIUM, "a script prints a secret",
       "The mask knows the value only as a whole: any other form is readable.", "Give it to the program by env or standard input.",
       bad=_wf("      - run: echo ${{ secrets.KEY }}\n"), good=_wf("      - run: deploy\n        env: { KEY: \"${{ secrets.KEY }}\" }\n"),
       find=_shown),
    _R("gha-every-secret", 522, "Every secret handed over", Severity.MEDIUM, "all secrets are given at once",
       "The job, and every action in it, reads secrets it has no use for.", "Name the secrets.",
       bad=_wf("      - run: deploy\n        env: { ALL: \"${{ toJSON(secrets) }}\" }\n"),
       good=_wf("      - run: deploy\n        env: { KEY: \"${{ secrets.KEY }}\" }\n"), find=_all_secrets),
    _R("gha-old-commands", 77, "Commands read from the log", Severity.HIGH, "old workflow commands are switched on again",
       "Whatever a program prints sets variables and paths of later steps.", "Use $GITHUB_ENV and $GITHUB_OUTPUT.",
       bad=_wf("      - run: build\n        env: { ACTIONS_ALLOW_UNSECURE_COMMANDS: true }\n"), good=_wf("      - run: build\n"),
       find=_old_commands),
    _R("gha-environment-written", 77, "Environment decided by a stranger", Severity.HIGH,
       "a stranger's words are written to GITHUB_ENV", "A line break in them sets LD_PRELOAD or PATH for later steps.",
       "Write to GITHUB_OUTPUT with a random delimiter, or check the value.",
       bad=_wf("      - run: echo \"T=${{ github.event.issue.title }}\" >> $GITHUB_ENV\n"),
       good=_wf("      - run: echo \"T=fixed\" >> $GITHUB_ENV\n"), find=_environment),
    _R("gha-trusted-by-name", 290, "Trusted by a name that can be taken", Severity.MEDIUM, "a bot is recognised by github.actor",
       "The actor is whoever made the last event: a stranger's pull request that the bot touched counts too.",
       "Ask github.event.pull_request.user.login and the head repository.",
       bad="on: pull_request_target\npermissions: {}\njobs:\n  a:\n    if: github.actor == 'dependabot[bot]'\n    runs-on: x\n    steps: []\n",
       good="on: pull_request_target\npermissions: {}\njobs:\n  a:\n    if: github.event.pull_request.user.login == 'dependabot[bot]'\n    runs-on: x\n    steps: []\n",
       find=_by_name),
    _R("gha-own-machine", 653, "Strangers' code on your machine", Severity.HIGH, "pull requests run on a self-hosted runner",
       "A pull request runs code in your network, and may leave something for the next job.", "Use hosted runners, or fresh machines for each job.",
       bad="on: pull_request\npermissions: {}\njobs: { a: { runs-on: self-hosted, steps: [] } }\n",
       good="on: pull_request\npermissions: {}\njobs: { a: { runs-on: ubuntu-24.04, steps: [] } }\n", find=_own_machines),
    _R("gha-piped-download", 494, "Download run unseen", Severity.HIGH, "what is downloaded is run at once",
       "Who holds the server runs commands with the workflow's token.", "Download, compare a checksum, then run.",
       bad=_wf("      - run: curl -sSf https://get.example.com | sh\n"), good=_wf("      - run: ./install.sh\n"), find=_piped),
    _R("gha-credentials-uploaded", 522, "Token in an artifact", Severity.HIGH, "the whole checkout is uploaded with the token in .git/config",
       "Everybody who may read the artifact has the token while the job runs.", "Set persist-credentials: false, or upload a folder.",
       bad=_wf(f"      - uses: actions/checkout@{_PIN}\n      - uses: actions/upload-artifact@{_PIN}\n        with: {{ path: . }}\n"),
       good=_wf(f"      - uses: actions/checkout@{_PIN}\n        with: {{ persist-credentials: false }}\n      - uses: actions/upload-artifact@{_PIN}\n        with: {{ path: . }}\n"),
       find=_kept_credentials),
    _R("gha-secret-written", 798, "Secret in the workflow", Severity.HIGH, "a secret is written in the workflow",
       "Who reads the repository has it.", "Use ${{ secrets.NAME }}.",
       bad=_wf("      - run: deploy\n        env: { DEPLOY_TOKEN: q9-correct-horse-42 }\n"),
       good=_wf("      - run: deploy\n        env: { DEPLOY_TOKEN: \"${{ secrets.DEPLOY_TOKEN }}\" }\n"), find=_written),
)  # fmt: skip
