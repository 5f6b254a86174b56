"""What a question asks for, by its words alone: work to hand in, a word's meaning, or how the
course is run. English. What it is about is judged elsewhere."""

import re
from dataclasses import dataclass, fields
from typing import Final

from agents.documents.sentences import sentence_spans
from agents.study.terms import terms

KINDS: Final = (
    "assignment|homework|essay|paper|lab|report|exam|quiz|test|coursework|task|problem set|"
    "problem|exercise|project|worksheet|sheet|case study|analysis|presentation|portfolio|review"
)
_CARDINAL_WORDS: Final = "one two three four five six seven eight nine ten eleven twelve"
_ORDINAL_WORDS: Final = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
)
_CARDINALS: Final = _CARDINAL_WORDS.split()
_ORDINALS: Final = _ORDINAL_WORDS.split()
_COUNT: Final = "|".join((r"\d{1,3}", *_CARDINALS))
_NTH: Final = "|".join((*_ORDINALS, r"\d{1,2}(?:st|nd|rd|th)"))
_NUMBERED: Final = (
    re.compile(
        rf"\b(?P<kind>{KINDS})\s*(?:no\.?\s*|number\s+|#\s*)?(?P<number>{_COUNT})\b",
        re.IGNORECASE | re.ASCII,
    ),
    re.compile(rf"\b(?P<number>{_NTH})\s+(?P<kind>{KINDS})\b", re.IGNORECASE | re.ASCII),
)

_WRITE: Final = (
    "write|draft|compose|finish|complete|solve|produce|rewrite|reword|rephrase|paraphrase|expand|"
    "outline|implement|proof-?read|ghost-?write|author|strengthen|polish|flesh out|elaborate|"
    "extend|shorten|tighten|restructure|tidy up|clean up|touch up|sharpen|"
    "(?:bang|crank|churn|knock|whip|cook|type|write|draw|spit|put|fill|spell|work|flesh|sort) "
    "(?:it |that |this |them )?(?:out|up|in|down|together)"
)
_WANTED: Final = re.compile(
    rf"(?<!how to )(?<!i )(?<!we )(?<!one )(?<!should )\b(?:{_WRITE}|write-?up|"
    r"(?<!what )(?<!how )(?<!why )(?<!where )(?<!when )"
    r"(?:do|answer|tackle|handle) (?:my|the|this|our|it|part|question|number|both|all)|"
    r"for me\b|(?:do|answer) (?:\w+ ){1,2}#?\d|i(?:'d| would)? (?:need|want|like) "
    r"(?:a|an|the|my|it|some|this)|turn (?:it|this|that|these|them|all)\b.{0,30}\binto)\b",
    re.IGNORECASE,
)
_PRODUCT: Final = re.compile(
    r"\b(?:paragraphs?|essays?|reports?|sections?|conclusion|introduction|intro|thesis|outline|"
    r"bullet(?:s|[- ]points?)|(?:model|sample|example|perfect|ideal|top|full)[- ]"
    r"(?:answers?|solutions?|essays?|responses?|text|code|method|working)|solutions?|answers? to|"
    r"worked|pseudo-?code|write-?up|drafts?|executive summary|abstract|discussion|verdict|"
    r"\d+[- ]words?|"
    r"(?:two|three|four|five|six|ten) (?:\w+ )?(?:words|sentences|lines|paragraphs)|"
    r"counter-?arguments?|working|key sentences?|part [a-h1-9]|question \d|"
    r"a table|first version|final version|the rest|the whole thing)\b",
    re.IGNORECASE,
)
_MINE: Final = re.compile(
    rf"\b(?:(?:my|our|this|the) (?:\w+ ){{0,3}}(?!(?:exam|quiz|test)\b)(?:{KINDS}|write-?up)|"
    r"(?:my|our) (?:\w+ ){0,3}(?:draft|answer|submission|conclusion|discussion|introduction|"
    r"argument|solution|code|results?|table|graph|data|curve|paragraph|section|text|design|plan|"
    r"notes|claim|thesis|final|filter|program)|hand(?:ing)? (?:it |this |that )?in|submit|"
    r"submission|paste|(?:full|top|good|better|more|best)[- ](?:marks?|grade|band)|"
    r"for (?:my|the|our) \w+ (?:part|section|paragraph)|(?:hours|minutes) left|prof)\b",
    re.IGNORECASE,
)
_DEFINITION: Final = re.compile(
    r"^\W*(?:(?:so|ok(?:ay)?|sorry|and|quick question|hi|hello)[\s,:]+)*"
    r"(?:what(?:'s|\u2019s| is| are| was| were)|who(?:'s| is| was| were)|define|"
    r"what do(?:es)? (?:\w+ ){1,3}(?:do|mean|stand for)(?=\W*$)|"
    r"(?:what|which) (?:kind|sort|type)s? of|how (?:is|are) [\w -]{2,40} (?:defined|called)|"
    r"(?:can|could) you (?:define|explain what)|explain what|remind me what)\b",
    re.IGNORECASE,
)
_FACT: Final = re.compile(
    r"^\W*(?:how (?:many|much|long|big|large|old|often|far|high)|when|who|whose|where|"
    r"(?:in )?(?:which|what) (?:year|port|bit|century|version|unit|country|chapter|day|room|page))"
    r"\b",
    re.IGNORECASE,
)
_MEANING: Final = re.compile(
    r"\b(?:stands? for(?=\W*$)|meaning of|mean(?:t)? by|(?:does|do) .{1,60} mean(?=\W*$| in)|"
    r"definition|defined|in general|generally|in one sentence|in simple terms|look(?:s)? like|"
    r"differ(?:s|ence)?)\b",
    re.IGNORECASE,
)
_COURSE: Final = re.compile(
    r"\b(?:due|deadline|extension|late (?:penalty|submission|work)|hand (?:it |this )?in late|"
    r"how long (?:may|can|should|must|does)|how many (?:pages|words)|word (?:count|limit)|"
    r"page limit|cit(?:e|ed|ing|ation)s?|referenc(?:e|es|ing) (?:style|list|format)|bibliograph\w+|"
    r"footnotes?|apa|mla|harvard style|chicago style|font|margins?|spacing|file (?:type|format)|"
    r"format|pdf|docx|upload|portal|moodle|canvas|groups? of|in (?:groups|pairs)|alone|"
    r"teammates?|office hours?|chapters?|lectures?|tutorials?|seminars?|slides?|reading list|"
    r"library|textbook|install|version|autograder|grading scheme|how much is .{1,30} worth|"
    r"lose (?:points|marks)|percent(?:age)? of the (?:grade|mark)|graded|resubmi\w+|"
    r"allowed|permitted|have to use|repository|git|room|cover sheet|title page|"
    r"caption(?:s|ed)?|exam date|syllabus|feedback|marks? back|plagiarism|anonymous\w*)\b",
    re.IGNORECASE,
)
_ASKS: Final = re.compile(
    r"^\W*(?:when|where|how (?:long|many|much|often|should|do|must)|which|who|what|is|are|do|does|"
    r"may|can|could|must|should|will|am|in which|to whom|by when|my \w+ is)\b",
    re.IGNORECASE,
)
_RULES: Final = re.compile(
    r"\b(?:(?:do|does|must|should|may|can|could|am|are|will|is) "
    rf"(?:i|we|you|it|one|the|my|our|there|this|every|quotations|examples|figures|an?|{KINDS})\b"
    r".{0,60}\b(?:have to|need to|allowed|fine|enough|ok(?:ay)?|permitted|include|count|required|"
    r"needed|hand(?:ed)? in|handed|due|graded|typed?|written|cite|marked|submit(?:ted)?|groups?|"
    r"pairs|alone|late|extension|footnotes?|title page|bibliography|spaced|format|pdf|rounded|"
    r"need an?|captioned|formatted|referenced|indented|numbered)|"
    r"should .{0,40}\bbe (?:captioned|formatted|referenced|indented|numbered|cited|labell?ed)|"
    r"due|deadline|extension|office hours?|word (?:count|limit)|page limit|"
    r"lose (?:points|marks)|late penalty|title page|citation style)\b",
    re.IGNORECASE,
)
_GOES_ON: Final = re.compile(
    r"^\W*(?:and|so|then|now|but|also|or|ok(?:ay)?|great|fine|good|thanks|right|perfect|minus|plus)"
    r"\b",
    re.IGNORECASE,
)
_POINTS_BACK: Final = re.compile(
    r"\b(?:it|its|that|this|these|those|they|them|their|he|him|his|she|her|both|each|"
    r"the (?:one|other|two|first|second|former|latter|result|difference|last|next|case|same)|"
    r"such|instead|again|else|above|together|everything|too|as well|missing|"
    r"(?:the )?(?:whole|entire) thing|my (?:final|last))\b|\bthen\W*$",
    re.IGNORECASE,
)
_FRAME_WORDS: Final = """\
    about answer answers argued around bullet can code coming copy could detailed do draft each
    enough essay every exercise expand fill final finish fine full give going good grade great
    hand help here's homework i i'd i'll i'm i've idea into just lab let like make marks me mine
    model my myself need now ok okay on our out outline paper paragraph paragraphs part parts
    paste piece please pls point points portion produce prof project put question ready report
    rewrite sample say section sentence sentences set sheet show so solution solve some somebody
    something submission submit sum task tell text that then these this those thanks three to
    together turn two us want whole with word words work worked would write writing written you
    your compose complete step four five six reading looks full-marks a-grade write-up"""
_FRAME: Final = frozenset(_FRAME_WORDS.split())
"""Words that ask: what is left of a question without them is what it is about."""
_TOKEN: Final = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*|[^\w\s]")
_TASK_TERMS: Final = frozenset(
    terms(
        "write words good reasons state show give propose identify answer solve finish complete "
        "code solution help draft evidence argue analyse design compute paragraph sentence text "
        "sample model outline bullet point section hand submit submission mark copy paste full "
        "need want two three part example step conclusion introduction thesis "
        + KINDS.replace("|", " ")
    )
)
_MAX_SENTENCES: Final = 8
_FEW_TERMS: Final = 2
_SHORT: Final = 6


@dataclass(frozen=True, slots=True)
class QuestionForm:
    """What a question does: wants something made; names a product ("a paragraph", "the working");
    speaks of the student's own work; asks for a fact, a definition, that of one term, a meaning;
    speaks of the course's running; asks for its rules."""

    wanted: bool
    product: bool
    mine: bool
    fact: bool
    definition: bool
    term: bool
    meaning: bool
    course: bool
    rules: bool

    @property
    def asks_for_work(self) -> bool:
        """Whether something is to be made, and not how that is done by the rules."""
        return (self.wanted or self.product) and not (self.fact or self.rules)


def form_of(question: str) -> QuestionForm:
    """The cues in `question`: of the sentences that ask for work, where any does, so that "When is
    it due?" before them hides nothing; else of the whole."""
    whole = _form_of(question)
    working = [form for text in _sentences(question) if (form := _form_of(text)).asks_for_work]
    if whole.asks_for_work or not working:
        return whole
    cues = ({f.name for f in fields(form) if getattr(form, f.name)} for form in working)
    found = set().union(*cues)
    return QuestionForm(**{f.name: f.name in found for f in fields(QuestionForm)})


def _form_of(text: str) -> QuestionForm:
    definition = bool(_DEFINITION.search(text))
    fact = bool(_FACT.search(text))
    rules = bool(_ASKS.match(text) and _RULES.search(text))
    return QuestionForm(
        wanted=bool(_WANTED.search(text)) and not fact,
        product=bool(_PRODUCT.search(text)) and not rules,
        mine=bool(_MINE.search(text)) and not rules,
        fact=fact,
        definition=definition,
        term=definition and len(topic_terms(text)) <= _FEW_TERMS,
        meaning=bool(_MEANING.search(text)),
        course=bool(_COURSE.search(text)),
        rules=rules,
    )


def leans(question: str) -> bool:
    """Whether it can't be read without what was said before: it goes on ("so how do these
    differ?"), points back before it has named anything, or hardly says a thing ("why?")."""
    if _GOES_ON.match(question):
        return True
    pointer = _POINTS_BACK.search(question)
    if pointer and len(topic_terms(question[: pointer.start()])) <= _FEW_TERMS:
        return True
    hardly = len(topic_terms(question)) < _FEW_TERMS and len(question.split()) <= _SHORT
    return hardly and not _DEFINITION.match(question)


def readings(question: str) -> list[str]:
    """The texts by which a question is looked up: it, its sentences, and each without the words
    that ask ("write me a paragraph on")."""
    sentences = _sentences(question)
    if len(sentences) > _MAX_SENTENCES:  # the task stands before or after what is told around it
        sentences = [*sentences[: _MAX_SENTENCES // 2], *sentences[-_MAX_SENTENCES // 2 :]]
    topics = (topic for text in (question, *sentences) if (topic := _topic(text)))
    return list(dict.fromkeys((question, *sentences, *topics)))


def _sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


def _topic(text: str) -> str | None:
    kept = [it for it in _TOKEN.findall(text) if it.lower() not in _FRAME]
    return " ".join(kept) if sum(it[0].isalnum() for it in kept) >= 2 else None


def topic_terms(text: str) -> set[str]:
    """Its content terms without those of setting and doing tasks."""
    return set(terms(text)) - _TASK_TERMS


def numbered_work(text: str) -> set[tuple[str, int]]:
    """Work named by number: ("problem set", 3) of "problem set #3" and "the third problem set"."""
    found = (match for pattern in _NUMBERED for match in pattern.finditer(text))
    return {(match["kind"].lower(), _number(match["number"].lower())) for match in found}


def _number(word: str) -> int:
    for words in (_CARDINALS, _ORDINALS):
        if word in words:
            return words.index(word) + 1
    return int(re.sub(r"\D", "", word))
