"""How long may one thing take, and how much may it say? Every bound with its unit and its reason."""

# Actions
ACTION_BYTES_MAX = 4 << 20  # 4 MiB: the largest file a patch may rewrite, twice; more is an artefact
COMMAND_TIMEOUT_S = 120.0  # default per command: a test suite of a small project fits
MODEL_TIMEOUT_S = 900.0  # a model that reasons for long, and three retries
COMMAND_TIMEOUT_S_MAX = 3600.0  # no approved command is worth a stuck session
ARGV_ITEMS_MAX = 4096  # the kernel allows more; nothing readable needs it

# What a planner is shown of an output; the rest is counted and said
OUTPUT_BYTES_MAX = 1 << 20  # 1 MiB kept of each stream (head and tail): fits a planner's window twice
OUTPUT_BYTES_KILL = 256 << 20  # a command that prints more is stopped: nobody reads it, the pipe costs CPU
OUTPUT_CHUNK_BYTES = 16 << 10  # one ledger event per 16 KiB of output

# Sandbox, per session
SANDBOX_MEMORY_BYTES = 2 << 30  # 2 GiB: a test suite with a web framework needs 200 MiB
SANDBOX_CPU_S = 300.0  # per command: CPU seconds over all its processes
SANDBOX_PROCESSES = 256  # enough for parallel tests, far below what hurts a laptop
SANDBOX_FILE_BYTES = 1 << 30  # largest file a command may write
SANDBOX_OPEN_FILES = 1024  # the usual soft limit of a login: programs are written for it
SANDBOX_TMP_BYTES = 1 << 30  # private /tmp

# Workspace copies
WORKSPACE_FILES_MAX = 100_000  # a monorepo has more: name one project of it
WORKSPACE_BYTES_MAX = 2 << 30  # a larger tree is refused before half of it is copied
SOURCE_FILE_BYTES_MAX = 2 << 20  # a source file above 2 MiB is generated: skipped, and said

# Approvals and grants (anchors/heal.md D2)
PROPOSAL_EXPIRY_S = 30 * 60  # what was true half an hour ago is not evidence any more
APPROVAL_EXPIRY_S = 15 * 60  # from the last needed vote; the act must start before it ends
DENIAL_FINAL_S = 60 * 60  # a denied digest cannot be asked again for an hour
GRANT_EXPIRY_S_MAX = 24 * 3600  # "don't ask again" ends with the day
APPROVAL_POLL_S = 0.1  # a person does not notice; the disk does not either

# Sessions
SESSION_STEPS_MAX = 5000  # two thousand turns of a model; a fix takes a tenth of that at most
DELEGATE_STEPS = 200  # of a child session where nobody says: forty turns of a model
DELEGATES_MAX = 8  # child sessions of one session: more is a plan that should be smaller
SESSION_WALL_S_MAX = 3600.0  # an unattended hour; more is asked for in veilig.yaml
STUCK_REPEATS_MAX = 3  # the same refused proposal three times: the planner does not learn, stop

# Ledger
EVENT_BODY_BYTES_MAX = 8 << 20  # twice the largest action, so that a proposal always fits
LEDGER_BUSY_S = 10.0  # how long to wait for another process's transaction
CHECKPOINT_EVENTS = 256  # a signed checkpoint at least this often

# Secrets
SECRET_CHARS_MIN = 8  # shorter values replace half the text
