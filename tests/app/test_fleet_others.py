"""Does a healer of one shard see what the others do, in their ledger? Acts under way, trouble, stops."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel import Clock
from veilig.app.fleet_others import LOST_S, OVER_S, Others, _fold, seen_before
