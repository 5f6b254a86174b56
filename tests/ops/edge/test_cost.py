"""The measure of an operation before it is validated."""

from typing import Any

import pytest
from graphql import (
    FragmentDefinitionNode,
    GraphQLSchema,
    OperationDefinitionNode,
    get_introspection_query,
    parse,
)
from hypothesis import given
from hypothesis import strategies as st

from ops.edge.cost import CostPass, OperationMeasure
from ops.edge.limits import EdgeLimits

LIMITS = EdgeLimits()


def measure(schema: GraphQLSchema, text: str, **variables: Any) -> OperationMeasure:
    document = parse(text)
    operation, *_ = [
        each for each in document.definitions if isinstance(each, OperationDefinitionNode)
    ]
    fragments = {
        each.name.value: each
        for each in document.definitions
        if isinstance(each, FragmentDefinitionNode)
    }
    return CostPass(schema, fragments, operation, variables, LIMITS).run()


def fan_out(levels: int) -> str:
    fragments = " ".join(
        f"fragment f{n} on Person{{friend{{...f{n + 1} ...f{n + 1}}}}}" for n in range(levels)
    )
    return f"{{person{{...f0}}}} {fragments} fragment f{levels} on Person{{name}}"


@pytest.mark.parametrize(
    ("text", "variables", "cost"),
    [
        ("{hello}", {}, 1),
        ("{__typename}", {}, 0),
        ("{person{name}}", {}, 1),
        ("{person{friend{name}}}", {}, 2),
        ("{person{tags{name}}}", {}, 1 + LIMITS.default_list),
        ("{person{friends(first:7){nodes{name} totalCount}}}", {}, 2 + 7),
        ("{person{friends(first:7){edges{node{name}}}}}", {}, 2 + 7),
        ("{person{friends{nodes{name}}}}", {}, 2 + LIMITS.default_page),
        ("query($n:Int){person{friends(first:$n){nodes{name}}}}", {"n": 50}, 2 + 50),
        ("query($n:Int=9){person{friends(first:$n){nodes{name}}}}", {}, 2 + 9),
        ("query($n:Int=9){person{friends(last:$n){nodes{name}}}}", {"n": 3.0}, 2 + 3),
        ("{person{friends(first:5,last:8){nodes{name}}}}", {}, 2 + 8),
        ("{person{friends(first:5){nodes{friends(first:4){nodes{name}}}}}}", {}, 2 + 5 * (2 + 4)),
        ("{person{friends(first:5){...c}}} fragment c on PersonConnection{nodes{name}}", {}, 2 + 5),
        ("{person{friends(first:-5){nodes{name}}}}", {}, 2),
        ("{a:person{name} b:person{name}}", {}, 2),
        ("{unknown{deep{er}}}", {}, 1),
        ('mutation{save(input:{text:"x"})}', {}, LIMITS.mutation_cost),
    ],
)
def test_cost(schema: GraphQLSchema, text: str, variables: dict[str, Any], cost: int) -> None:
    assert measure(schema, text, **variables).cost == cost


def test_counts_go_through_fragments(schema: GraphQLSchema) -> None:
    measured = measure(
        schema,
        """query Q($a: Int @skip(if: true), $b: Int) @include(if: true) {
             ...root @skip(if: false)  x: hello  ... on Query { hello }
           }
           fragment root on Query { y: person @include(if: true) { z: name friend { name } } }""",
    )
    assert (measured.depth, measured.aliases, measured.directives) == (3, 3, 4)
    assert (measured.root_fields, measured.variables) == (3, 2)


def test_introspection_has_no_depth_and_a_flat_price(schema: GraphQLSchema) -> None:
    measured = measure(schema, get_introspection_query(input_value_deprecation=True))
    assert measured.depth == 1
    assert measured.cost == LIMITS.introspection_cost
    assert measured.exceeded(LIMITS) == []


def test_fragments_that_fan_out_are_visited_once(schema: GraphQLSchema) -> None:
    text = fan_out(15)
    assert len(text) < 800
    measured = measure(schema, text)
    assert measured.visits == 2 + 15 * 3 + 1
    assert measured.cost == 2**15


def test_a_fan_out_beyond_any_integer_is_an_error_that_json_can_carry(
    schema: GraphQLSchema,
) -> None:
    errors = measure(schema, fan_out(90)).exceeded(LIMITS)
    cost = next(each for each in errors if each["extensions"]["limit"] == "cost")
    assert cost["extensions"]["actual"] == 2**53 - 1


@given(st.integers(1, 60), st.integers(1, 4))
def test_visits_are_linear(schema: GraphQLSchema, levels: int, spreads: int) -> None:
    fragments = " ".join(
        f"fragment f{n} on Person{{friend{{{f'...f{n + 1} ' * spreads}}}}}" for n in range(levels)
    )
    text = f"{{person{{...f0}}}} {fragments} fragment f{levels} on Person{{name}}"
    assert measure(schema, text).visits == 2 + levels * (1 + spreads) + 1


@pytest.mark.parametrize(
    "text",
    [
        "{person{...a}} fragment a on Person{name ...a}",
        "{person{...a}} fragment a on Person{friend{...b}} fragment b on Person{friend{...a}}",
        "{person{...missing}}",
        "{person{...a}} fragment a on Missing{friend{name}}",
    ],
)
def test_what_validation_will_refuse_is_measured_all_the_same(
    schema: GraphQLSchema, text: str
) -> None:
    assert measure(schema, text).visits < 10


def test_a_chain_of_fragments_needs_no_stack(schema: GraphQLSchema) -> None:
    chain = " ".join(f"fragment f{n} on Person{{...f{n + 1}}}" for n in range(2_000))
    text = f"{{person{{...f0}}}} {chain} fragment f2000 on Person{{name}}"
    assert measure(schema, text).depth == 2


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        ("depth", "{person" + "{friend" * 12 + "{name}" + "}" * 13),
        ("aliases", "{person{" + " ".join(f"a{n}:name" for n in range(31)) + "}}"),
        ("root_fields", "{" + " hello" * 21 + "}"),
        ("directives", "{hello " + "@include(if:true)" * 9 + "}"),
        ("variables", "query(" + " ".join(f"$v{n}:Int" for n in range(51)) + "){hello}"),
        ("cost", "{person{friends(first:100){nodes{friends(first:10){nodes{name}}}}}}"),
        ("page", "{person{friends(first:101){totalCount}}}"),
        ("ids", "{people(ids:[" + '"x" ' * 101 + "])}"),
    ],
)
def test_each_limit_is_named(schema: GraphQLSchema, limit: str, text: str) -> None:
    (error,) = measure(schema, text).exceeded(LIMITS)
    extensions = error["extensions"]
    assert extensions["code"] == "LIMIT_EXCEEDED"
    assert (extensions["limit"], extensions["value"]) == (limit, getattr(LIMITS, limit))
    assert extensions["actual"] > extensions["value"]
    assert str(extensions["value"]) in error["message"]
