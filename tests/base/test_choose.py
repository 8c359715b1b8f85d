"""Messages for names that are in no table."""

from __future__ import annotations

import pytest

from mmbd.base.choose import unknown


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("jiont", "unknown null 'jiont'; did you mean 'joint'? known: joint, bootstrap"),
        ("xyz", "unknown null 'xyz'; known: joint, bootstrap"),
        (None, "unknown null 'None'; known: joint, bootstrap"),
        ("\x1b[2Jjoint", "unknown null '\\\\x1b[2Jjoint'; did you mean 'joint'? known: joint, bootstrap"),
    ],
)
def test_the_message_says_what_was_given_what_is_close_and_what_is_known(given, message):
    assert unknown("null", given, ["joint", "bootstrap"]) == message
