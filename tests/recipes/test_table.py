"""recipes/table.py: numbers as a reader of a table sees them."""

import pytest
from recipes.table import p_text


@pytest.mark.parametrize(("p", "text"), [(0.25, "0.2500"), (1.0, "1.0000"), (9.9e-5, "0.0001"), (4.1e-5, "< 0.0001")])
def test_a_small_p_value_is_not_shown_as_0(p: float, text: str) -> None:
    assert p_text(p) == text
