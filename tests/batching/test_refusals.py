"""Whatever is refused is refused by name, and its message has the way out."""

import pytest

from tests.refusals import REFUSALS

pytestmark = pytest.mark.first_step_checked


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.construct[:50])
def test_the_message_has_the_way_out(refusal):
    with pytest.raises((ValueError, NotImplementedError)) as error:
        refusal.provoke()
    message = str(error.value)
    assert [part for part in refusal.says if part not in message] == [], message
