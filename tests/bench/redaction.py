"""How much of what names a student is gone, against replacing the name and the address.

`python -m tests.bench.redaction` prints, by the way a name is written, the share of planted names
that are gone entirely; then the share of what was cut that had been planted, and the time.
"""

import re
import time
from collections import defaultdict
from collections.abc import Callable

from agents.grading.naming import Identity
from agents.grading.redaction import redact
from tests.agents.grading.planted_likenesses import likenesses
from tests.agents.grading.planted_names import planted

Spans = list[tuple[int, int]]


def ours(text: str, identity: Identity) -> Spans:
    """What the redaction cuts."""
    return [(cut.start, cut.end) for cut in redact(text, identity).cuts]


def replaced(text: str, identity: Identity) -> Spans:
    """The baseline: the name, its words and the address, whatever their case."""
    words = [identity.name, identity.email, *identity.name.split()]
    pattern = "|".join(map(re.escape, sorted(words, key=len, reverse=True)))
    return [m.span() for m in re.finditer(pattern, text, re.IGNORECASE)]


def main() -> None:
    """Prints the table."""
    rows: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    cut_by: dict[str, list[bool]] = {"ours": [], "replaced": []}
    seconds = {"ours": 0.0, "replaced": 0.0}
    ways: dict[str, Callable[[str, Identity], Spans]] = {"ours": ours, "replaced": replaced}
    written = [(kind, text, [(start, end)], who) for kind, text, start, end, who in planted()]
    written += [("short, misspelt, near", *each) for each in likenesses()]
    for kind, text, places, identity in written:
        gone = []
        for way, find in ways.items():
            began = time.perf_counter()
            spans = find(text, identity)
            seconds[way] += time.perf_counter() - began
            wanted = {i for start, end in places for i in range(start, end)}
            left = wanted - {i for s, e in spans for i in range(s, e)}
            gone.append(not any(text[i].isalnum() for i in left))
            cut_by[way] += [s in wanted and e - 1 in wanted for s, e in spans]
        rows[kind].append((gone[0], gone[1]))
    say = print
    say(f"{'written':24}{'names':>7}{'recall':>9}{'replaced':>10}")
    for kind, found in [*rows.items(), ("all", [each for of in rows.values() for each in of])]:
        counts = [sum(each[i] for each in found) / len(found) for i in (0, 1)]
        say(f"{kind:24}{len(found):>7}{counts[0]:>9.3f}{counts[1]:>10.3f}")
    for way, right in cut_by.items():
        say(f"precision, {way}: {sum(right) / len(right):.3f} of {len(right)} cuts")
    say(f"time, ours to replaced: {seconds['ours'] / seconds['replaced']:.1f}")


if __name__ == "__main__":
    main()
