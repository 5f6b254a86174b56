"""Weights of `work_likeness.features`. Written by tests/bench/firewall_fit.py, which
fitted them on 770 English questions about 21 assignments
(firewall_tuning.json, SHA-256 d8d13215e824...) with embedded:minilm-l6-v2-int8@384."""

from collections.abc import Mapping
from typing import Final

INTERCEPT: Final = -5.7888
WEIGHTS: Final[Mapping[str, float]] = {
    "nearest": 2.6302,
    "whole": 5.8891,
    "top": 3.5640,
    "prompt_terms": 1.5747,
    "all_terms": 0.7339,
    "many_terms": 1.7104,
    "wanted": 0.9750,
    "product": 2.1410,
    "mine": 2.6639,
    "fact": -2.1046,
    "definition": -2.1099,
    "term": -1.9578,
    "meaning": -2.3258,
    "course": -1.3635,
    "rules": -1.0226,
    "named": 4.5375,
    "leans": 0.0608,
}
