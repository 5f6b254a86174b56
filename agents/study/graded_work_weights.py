"""Weights of `work_likeness.features`. Written by tests/bench/firewall_fit.py, which
fitted them on 770 English questions about 21 assignments
(firewall_tuning.json, SHA-256 d8d13215e824...) with embedded:minilm-l6-v2-int8@384."""

from collections.abc import Mapping
from typing import Final

INTERCEPT: Final = -5.8008
WEIGHTS: Final[Mapping[str, float]] = {
    "nearest": 2.6212,
    "whole": 5.9960,
    "top": 3.5627,
    "prompt_terms": 1.5468,
    "all_terms": 0.7437,
    "many_terms": 1.6634,
    "wanted": 1.1060,
    "product": 2.1311,
    "mine": 2.6728,
    "fact": -2.0834,
    "definition": -2.1018,
    "term": -1.9707,
    "meaning": -2.3171,
    "course": -1.4847,
    "rules": -0.5927,
    "named": 4.5105,
    "leans": 0.0516,
}
