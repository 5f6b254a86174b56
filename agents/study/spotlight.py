"""Text of others inside a prompt, shown to be data: spotlighting (Hines et al., 2024).

Passages, pages, earlier turns and drafts stand between fences that whoever wrote them can't have
written, without invisible characters, and with the spaces of what reads as an instruction marked.
A quote that carries the marks is a quote of the text without them.
"""

import hashlib
import re
from typing import Final

from agents.grading.guard import guarded
from agents.grading.invisible import DATAMARK

_ADDRESSED: Final = re.compile(
    r"\b(?:system prompt|system message|developer message|new instructions?|"
    r"(?:your|these|following) instructions|you must (?:now|always|answer|reply|say|call|use)|"
    r"(?:ai|language model|assistant|tutor|chatbot|llm)s?\s*[:,]\s*(?:you|please|do|say|reply|"
    r"answer|tell|write|print|call|use)|(?:reply|respond|answer) (?:only )?with\b|"
    r"(?:call|use|invoke|run) the \w+ (?:tool|function)|print (?:the|your|all) )",
    re.IGNORECASE,
)
_SENTENCE: Final = re.compile(r"[^.!?\n]++[.!?]?")


def fence(*parts: str) -> str:
    """A name for the fences of a prompt which nobody who wrote only some of `parts` knows."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:12]


def spotlit(text: str, name: str) -> str:
    """`text` as data between fences of this name."""
    return f"<data {name}>\n{datamarked(text)}\n</data {name}>" if text else ""


def datamarked(text: str) -> str:
    """`text` without hidden characters, a mark for each space of what reads as an instruction."""
    marked = guarded(text, len(text)).text
    return _SENTENCE.sub(_marked, marked)


def _marked(sentence: re.Match[str]) -> str:
    text = sentence.group()
    return re.sub(r"\s", DATAMARK, text) if _ADDRESSED.search(text) else text


def unmarked(text: str) -> str:
    """`text` with spaces for marks, of the same length."""
    return text.replace(DATAMARK, " ")
