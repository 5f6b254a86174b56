"""What is said of input that is refused."""

import pytest

from resolvers.checks import prose
from resolvers.refusals import Refusal


@pytest.mark.parametrize(("text", "length"), [("", 0), (" \n ", 0), ("123456789", 9)])
def test_a_text_of_the_wrong_length_is_told_the_length_that_counts(text: str, length: int) -> None:
    with pytest.raises(Refusal, match=f"text has 1 to 8 characters; this has {length}"):
        prose(text, "text", most=8, least=1)
