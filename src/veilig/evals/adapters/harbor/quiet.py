"""What may Harbor tell others of a run? Nothing, unless the caller's environment says otherwise.

`HARBOR_TELEMETRY=0` keeps its usage reports at home; `LITELLM_LOCAL_MODEL_COST_MAP=True` keeps litellm from
fetching a price list when it is imported. Harbor's own command may have imported that before us: set both
where it is started, too.
"""

import os

QUIET = {"HARBOR_TELEMETRY": "0", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}


def keep_quiet() -> None:
    """Set what the environment does not say."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
