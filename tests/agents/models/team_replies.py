"""What a model would answer to the teams' prompts, made of the prompt alone."""

import json
import re
from collections.abc import Iterable
from typing import Any

FACT = "When the time to live reaches zero, the packet is discarded and an ICMP message is sent"
TEXT = "The packet is discarded and an ICMP message is sent back. [1]"
_TOLD_BY = {"route": "planner", "quotations": "tutor", "verdict": "critic", "off_topic": "grader"}


def member(fields: Iterable[str]) -> str:
    """Who asks, told by the fields of the answer's schema."""
    return next((_TOLD_BY[one] for one in fields if one in _TOLD_BY), "feedback")


def reply_to(asking: str, prompt: str) -> str:
    """The JSON of the member that asks."""
    answer: Any = {"text": "You said where the packet goes. Say more about its lifetime."}
    if asking == "planner":
        answer = _plan()
    elif asking == "tutor":
        answer = _tutor(prompt)
    elif asking == "critic":
        answer = {"verdict": "APPROVE", "issues": []}
    elif asking == "grader":
        answer = _grade(prompt)
    return json.dumps(answer)


def _plan() -> dict[str, Any]:
    return {
        "route": "DOCUMENTS",
        "queries": ["time to live reaches zero"],
        "clarification": "",
        "assignment_id": "",
        "reason": "It is in the material.",
    }


def _tutor(prompt: str) -> dict[str, Any]:
    passages = re.split(r"\[passage (\d+)\]", prompt)[1:]
    for number, text in zip(passages[::2], passages[1::2], strict=True):
        if FACT in text:
            quotation = {"marker": 1, "passage": int(number), "quote": FACT}
            return {"text": TEXT, "quotations": [quotation], "abstained": False}
    return {"text": "", "quotations": [], "abstained": True}


def _grade(prompt: str) -> dict[str, Any]:
    found = re.search(r"<<<\w+\n(.*)\n\w+>>>", prompt, re.DOTALL)
    assert found is not None
    quote = found[1].split(".")[0]
    judged = []
    for section in prompt.split("## Criterion: ")[1:]:
        key = re.search(r"^id: (\S+)$", section, re.MULTILINE)
        level = re.search(r"^- level (\S+): Full", section, re.MULTILINE)
        assert key is not None
        assert level is not None
        judged.append(
            {
                "criterion_id": key[1],
                "level_id": level[1],
                "points": 4,
                "confidence": 0.9,
                "rationale": "It is said.",
                "quotes": [quote],
            }
        )
    return {"criteria": judged, "off_topic": False}
