"""Is what is kept of a campaign either whole or said not to be?"""

from pathlib import Path

import pytest

from veilig.campaign.store import Campaign, Campaigns, Heading
from veilig.core.errors import UsageError


@pytest.mark.parametrize("at", [0, 12, 20, -9, -1])
def test_a_kept_report_with_any_byte_wrong_is_none_and_is_made_again(tmp_path: Path, at: int) -> None:
    store = Campaigns(tmp_path)
    store.keep("ab" * 16, {"findings": [{"path": "a.py"}] * 9})
    (place,) = tmp_path.rglob("*.json.gz")
    assert store.kept("ab" * 16) is not None
    data = bytearray(place.read_bytes())
    data[at] ^= 0x55
    place.write_bytes(bytes(data))
    assert store.kept("ab" * 16) is None


def test_results_that_cannot_be_read_are_no_empty_campaign(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").mkdir()
    with pytest.raises(UsageError, match="cannot read"):
        list(Campaign(tmp_path, Heading("1", "audit", "l", "a", "t", 1, "now")).scan())
