"""How models are named, offered and priced."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agents.grading.brief import Role
from agents.models.catalogue import Catalogue, OfferedModel, Price
from agents.models.failures import FailureKind, ModelFailure
from agents.models.names import GRADING_ROLES, STUDY_ROLES, ModelName, chains, model_name
from agents.models.retry import pause, retry_info
from agents.models.tokens import CountedUsage

NAME = "openai:qwen3@http://vllm:8000/v1"


def test_a_name_is_read_as_it_is_written():
    assert model_name(NAME) == ModelName("openai", "qwen3", "http://vllm:8000/v1")
    assert model_name("gemini:gemini-3-flash") == ModelName("gemini", "gemini-3-flash")
    assert str(model_name(NAME)) == NAME
    assert model_name("openai:Qwen/Qwen3-8B:free").model == "Qwen/Qwen3-8B:free"


@pytest.mark.parametrize(
    "text", ["", "gemini", "gemini:", "claude:x", "openai:x@ftp://y", "openai:a b", "openai:x@"]
)
def test_what_is_no_name_is_told_how_to_write_one(text):
    with pytest.raises(ValueError, match="write a model as"):
        model_name(text)


def test_roles_have_chains():
    seated = chains(f"gemini:a > {NAME}, critic=offline", STUDY_ROLES)
    assert [str(one) for one in seated["tutor"]] == ["gemini:a", NAME]
    assert seated["critic"] == ()
    assert set(chains("offline", GRADING_ROLES).values()) == {()}
    assert chains("tutor=gemini:a", STUDY_ROLES)["planner"] == ()
    with pytest.raises(ValueError, match="'judge' is not a role; these are: planner"):
        chains("judge=gemini:a", STUDY_ROLES)


def test_the_grading_roles_are_the_seats_of_the_team():
    assert tuple(role.name.lower() for role in Role) == GRADING_ROLES


def test_a_price_counts_from_its_day_on():
    prices = [
        {"from": "2026-02-01", "input": 2, "output": 2},
        {"from": "2026-01-01", "input": 1, "output": 1},
    ]
    catalogue = Catalogue([OfferedModel(name="gemini:a", prices=prices)])
    name = model_name("gemini:a")
    assert catalogue.price(name, date(2026, 1, 31)).input == 1
    assert catalogue.price(name, date(2026, 2, 1)).input == 2
    for unpriced, day in ((name, date(2025, 12, 31)), (model_name("gemini:b"), date(2026, 3, 1))):
        with pytest.raises(ModelFailure) as caught:
            catalogue.price(unpriced, day)
        assert (caught.value.kind, caught.value.retryable) == (FailureKind.UNPRICED, False)


def test_a_model_without_a_price_is_not_offered():
    with pytest.raises(ValidationError):
        OfferedModel(name="gemini:a", prices=[])


tokens = st.integers(0, 10_000_000)


@given(tokens, tokens, tokens, tokens)
def test_a_cost_is_never_rounded_down_and_a_cache_never_costs_more(prompt, output, cached, price):
    usage = CountedUsage(prompt, output, cached)
    dear = Price(since=date(2026, 1, 1), input=price, output=price)
    cheap = dear.model_copy(update={"cached": price // 4})
    assert dear.cost(usage) * 1_000_000 >= (prompt + output) * price
    assert cheap.cost(usage) <= dear.cost(usage)


@given(st.integers(1, 50), st.one_of(st.none(), st.floats(0, 1_000)))
def test_a_pause_is_what_was_asked_for_or_within_the_jitter(failures, asked):
    waited = pause(failures, asked)
    if asked is None:
        assert 0 <= waited <= 30
    else:
        assert asked <= waited <= asked * 1.1


@pytest.mark.parametrize(
    "body", [None, [], {"error": None}, {"error": {"details": [{"@type": "x"}, 3]}}, "429"]
)
def test_an_error_body_of_any_shape_has_no_retry_info(body):
    assert retry_info(body) is None
