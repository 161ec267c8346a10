"""Does a handle stay a handle for every role, and does no text hide behind the looks of one?"""

import pytest

from veilig.collab.roles import Role
from veilig.collab.view import shown

TOKEN = "ghp_" + "R7tWq2Zk9LmX4bVn" + "8sYd3Fh6Jc1Pg5Ta0Ue2"


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("around", ["{}", "asked the bank with {}", 'PAYMENT_TOKEN = "{}"', "Bearer {}"])
def test_a_handle_is_shown_whole(role: Role, around: str) -> None:
    text = around.format("‹secret:PAYMENT_TOKEN#1ab23c›")
    assert shown(text, role) == text


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("form", ["‹secret:{}#1ab23c›", "‹secret:x#1ab23c›{}", "‹secret:{}›"])
def test_a_token_dressed_as_a_handle_is_masked(role: Role, form: str) -> None:
    assert TOKEN not in shown(form.format(TOKEN), role)
