"""The cache of documents."""

from typing import Any

import pytest
from graphql import GraphQLSchema

from ops.edge.documents import Documents
from ops.edge.errors import RequestRefused
from ops.edge.limits import EdgeLimits


async def refusal(documents: Documents, text: str) -> list[dict[str, Any]]:
    with pytest.raises(RequestRefused) as caught:
        await documents.prepared(text, None, {})
    return caught.value.errors


async def test_a_document_is_prepared_once(schema: GraphQLSchema) -> None:
    documents = Documents(schema, EdgeLimits())
    first, *_ = await documents.prepared("{hello}", None, {})
    second, *_ = await documents.prepared("{hello}", None, {})
    assert first is second
    assert documents.misses == 1


async def test_errors_of_syntax_and_validation_are_remembered(schema: GraphQLSchema) -> None:
    documents = Documents(schema, EdgeLimits())
    for text in ("{hello", "{missing}"):
        first = await refusal(documents, text)
        assert first[0]["extensions"]["code"] == "INVALID_DOCUMENT"
        assert first[0]["locations"]
        assert await refusal(documents, text) == first
    assert documents.misses == 2


async def test_a_measure_follows_the_variables(schema: GraphQLSchema) -> None:
    documents = Documents(schema, EdgeLimits())
    text = "query($n:Int){person{friends(first:$n){nodes{name}}}}"
    costs = [
        (await documents.prepared(text, None, variables))[2].cost
        for variables in ({"n": 5}, {"n": 50}, {"n": 5}, {}, {"n": None}, {"n": "x"})
    ]
    assert costs == [7, 52, 7, 22, 22, 22]
    with pytest.raises(RequestRefused):
        await documents.prepared(text, None, {"n": 101})


async def test_the_least_recently_used_document_goes_first(schema: GraphQLSchema) -> None:
    documents = Documents(schema, EdgeLimits(cached_documents=2))
    for text in ("{hello}", "{a:hello}", "{hello}", "{b:hello}", "{hello}"):
        await documents.prepared(text, None, {})
    assert documents.misses == 3
    await documents.prepared("{a:hello}", None, {})
    assert documents.misses == 4


async def test_the_cache_is_bounded_by_tokens(schema: GraphQLSchema) -> None:
    documents = Documents(schema, EdgeLimits(cached_tokens=19))
    await documents.prepared("{hello}", None, {})
    await documents.prepared("{" + "hello " * 15 + "}", None, {})
    await documents.prepared("{hello}", None, {})
    assert documents.misses == 3


async def test_a_long_document_is_not_kept(schema: GraphQLSchema) -> None:
    documents = Documents(schema, EdgeLimits())
    text = "{hello}" + " " * 20_000
    await documents.prepared(text, None, {})
    await documents.prepared(text, None, {})
    assert documents.misses == 2


async def test_the_operation_is_chosen_by_name(schema: GraphQLSchema) -> None:
    documents = Documents(schema, EdgeLimits())
    text = "query A{hello} query B{person{name}}"
    _, operation, _ = await documents.prepared(text, "B", {})
    assert operation.name is not None
    assert operation.name.value == "B"
    for name in (None, "C"):
        with pytest.raises(RequestRefused) as caught:
            await documents.prepared(text, name, {})
        assert caught.value.errors[0]["extensions"]["code"] == "BAD_INPUT"
    assert (await refusal(documents, "fragment f on Query{hello}"))[0]["extensions"]["code"] == (
        "BAD_INPUT"
    )


async def test_no_more_errors_than_the_limit(schema: GraphQLSchema) -> None:
    documents = Documents(schema, EdgeLimits(errors=3))
    assert len(await refusal(documents, "{a b c d e f g}")) == 3
