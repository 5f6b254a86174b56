"""One pass over an operation that measures it before it is validated.

Each selection is visited once: a fragment is measured once and its measure is added at each
spread, so the pass is linear in the document whatever the fragments multiply to. A list without
a size takes the size of the connection around it, which the enclosing field knows and the
fragment does not; a measure therefore keeps the cost of its direct lists apart (`items`, for one
item) and stays independent of where the fragment is spread.

Points: an object costs 1, a leaf nothing, a root field at least 1, times the sizes of the lists
around it. `Edge` and `PageInfo` objects of Relay connections cost nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLCompositeType,
    GraphQLField,
    GraphQLID,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_composite_type,
    is_list_type,
)
from graphql.utilities.coerce_input_value import coerce_default_value

from ops.edge.errors import ErrorObject, limit_error
from ops.edge.limits import EdgeLimits

SLICING = ("first", "last")
INTROSPECTION = frozenset({"__schema", "__type"})
FREE_SUFFIXES = ("Edge", "PageInfo")


@dataclass(slots=True)
class Measure:
    """What a selection set amounts to with its fragments spread."""

    depth: int = 0
    aliases: int = 0
    directives: int = 0
    fields: int = 0
    fixed: int = 0
    items: int = 0

    def add(self, other: "Measure") -> None:
        """Add what is selected beside; depths are not summed."""
        self.depth = max(self.depth, other.depth)
        self.aliases += other.aliases
        self.directives += other.directives
        self.fields += other.fields
        self.fixed += other.fixed
        self.items += other.items


@dataclass(frozen=True, slots=True)
class OperationMeasure:
    """The measure of an operation, the selections visited for it, and the largest page asked.

    `sized_by` names the variables the measure depends on.
    """

    depth: int
    aliases: int
    directives: int
    root_fields: int
    variables: int
    cost: int
    page: int
    ids: int
    visits: int
    sized_by: frozenset[str]

    def exceeded(self, limits: EdgeLimits) -> list[ErrorObject]:
        """One error for each limit that is exceeded."""
        sentences = {
            "depth": "The operation nests {0} fields deep; {1} are allowed.",
            "aliases": "The operation has {0} aliases; {1} are allowed.",
            "root_fields": "The operation selects {0} root fields; {1} are allowed.",
            "directives": "The operation has {0} directives; {1} are allowed.",
            "variables": "The operation has {0} variables; {1} are allowed.",
            "cost": "The operation costs {0} points; {1} are allowed. Ask for fewer items.",
            "page": "A page of {0} items was asked for; {1} are allowed.",
            "ids": "A list of {0} ids was given; {1} are allowed.",
        }
        errors = []
        for name, sentence in sentences.items():
            actual, allowed = getattr(self, name), getattr(limits, name)
            if actual > allowed:
                shown = actual if actual < 10**12 else "far too many"
                errors.append(limit_error(name, allowed, sentence.format(shown, allowed), actual))
        return errors


@dataclass(slots=True)
class CostPass:
    """Measures one operation of a document, for the variables of one request."""

    schema: GraphQLSchema
    fragments: Mapping[str, FragmentDefinitionNode]
    operation: OperationDefinitionNode
    variables: Mapping[str, Any]
    limits: EdgeLimits
    visits: int = 0
    page: int = 0
    ids: int = 0
    sized_by: set[str] = field(default_factory=set)
    _measured: dict[str, Measure] = field(default_factory=dict)
    _defaults: dict[str, ValueNode | None] = field(default_factory=dict)

    def run(self) -> OperationMeasure:
        """Measure the operation. Works on documents that are not valid, cyclic ones included."""
        definitions = self.operation.variable_definitions or ()
        self._defaults = {each.variable.name.value: each.default_value for each in definitions}
        for name in self._spread_order():
            fragment = self.fragments[name]
            measured = self._selections(
                fragment.selection_set, self._composite(fragment.type_condition.name.value), None
            )
            measured.directives += len(fragment.directives or ())
            self._measured[name] = measured
        root = self.schema.get_root_type(self.operation.operation)
        total = self._selections(self.operation.selection_set, root, self.operation.operation)
        directives = len(self.operation.directives or ()) + sum(
            len(each.directives or ()) for each in definitions
        )
        return OperationMeasure(
            depth=total.depth,
            aliases=total.aliases,
            directives=total.directives + directives,
            root_fields=total.fields,
            variables=max(len(definitions), len(self.variables)),
            cost=total.fixed + total.items * self.limits.default_list,
            page=self.page,
            ids=self.ids,
            visits=self.visits,
            sized_by=frozenset(self.sized_by),
        )

    def _spread_order(self) -> list[str]:
        """The fragments the operation reaches, each after those it spreads.

        A spread that closes a cycle is left out, it counts as nothing; validation names it.
        """
        order: list[str] = []
        entered: set[str] = set()
        stack: list[tuple[str, Iterator[str]]] = [("", iter(spreads(self.operation.selection_set)))]
        while stack:
            name, below = stack[-1]
            for spread in below:
                if spread in self.fragments and spread not in entered:
                    entered.add(spread)
                    inner = self.fragments[spread].selection_set
                    stack.append((spread, iter(spreads(inner))))
                    break
            else:
                stack.pop()
                if name:
                    order.append(name)
        return order

    def _composite(self, name: str) -> GraphQLCompositeType | None:
        found = self.schema.get_type(name)
        return found if is_composite_type(found) else None

    def _selections(
        self,
        selection_set: SelectionSetNode,
        parent: GraphQLCompositeType | None,
        root: OperationType | None,
    ) -> Measure:
        total = Measure()
        for selection in selection_set.selections:
            self.visits += 1
            total.directives += len(selection.directives or ())
            if isinstance(selection, FieldNode):
                self._field(total, selection, parent, root)
            elif isinstance(selection, InlineFragmentNode):
                condition = selection.type_condition
                inner = self._composite(condition.name.value) if condition else parent
                total.add(self._selections(selection.selection_set, inner, root))
            elif isinstance(selection, FragmentSpreadNode):
                total.add(self._measured.get(selection.name.value, Measure()))
        return total

    def _field(
        self,
        total: Measure,
        node: FieldNode,
        parent: GraphQLCompositeType | None,
        root: OperationType | None,
    ) -> None:
        definition = self.schema.get_field(parent, node.name.value) if parent else None
        named = get_named_type(definition.type) if definition else None
        composite = named if is_composite_type(named) else None
        inner = (
            self._selections(node.selection_set, composite, None)
            if node.selection_set
            else Measure()
        )
        total.fields += 1
        total.aliases += inner.aliases + (node.alias is not None)
        total.directives += inner.directives
        if node.name.value in INTROSPECTION:
            total.depth = max(total.depth, 1)
            total.fixed += self.limits.introspection_cost
            return
        total.depth = max(total.depth, 1 + inner.depth)
        own = self._own_points(node, composite, root)
        size = self._size(definition, node) if definition else None
        if definition and is_list_type(get_nullable_type(definition.type)):
            item = own + inner.fixed + inner.items * self.limits.default_list
            if size is None:
                total.items += item
            else:
                total.fixed += item * size
        else:
            around = self.limits.default_list if size is None else size
            total.fixed += own + inner.fixed + inner.items * around

    def _own_points(
        self,
        node: FieldNode,
        composite: GraphQLCompositeType | None,
        root: OperationType | None,
    ) -> int:
        if root is OperationType.MUTATION:
            return self.limits.mutation_cost
        if composite and not composite.name.endswith(FREE_SUFFIXES):
            return 1
        return 1 if root and node.name.value != "__typename" else 0

    def _size(self, definition: GraphQLField, node: FieldNode) -> int | None:
        """The `first` or `last` asked of a field, None when the field takes neither."""
        sliced = [name for name in SLICING if name in definition.args]
        sizes = []
        for argument in node.arguments or ():
            name = argument.name.value
            if name in sliced:
                size = self._integer(argument.value)
                if size is not None:
                    sizes.append(max(0, size))
            elif isinstance(argument.value, ListValueNode) and takes_ids(definition, name):
                self.ids = max(self.ids, len(argument.value.values))
        if sizes:
            self.page = max(self.page, *sizes)
            return max(sizes)
        defaults = [coerce_default_value(definition.args[name]) for name in sliced]
        declared = [size for size in defaults if isinstance(size, int)]
        if declared:
            return max(declared)
        return self.limits.default_page if sliced else None

    def _integer(self, value: ValueNode | None) -> int | None:
        if isinstance(value, VariableNode):
            name = value.name.value
            self.sized_by.add(name)
            if name not in self.variables:
                default = self._defaults.get(name)
                return None if isinstance(default, VariableNode) else self._integer(default)
            given = self.variables[name]
            if isinstance(given, float) and given.is_integer():
                return int(given)  # graphql-core takes 5.0 for an Int
            return given if isinstance(given, int) and not isinstance(given, bool) else None
        if isinstance(value, IntValueNode) and len(value.value) <= self.limits.integer_digits:
            return int(value.value)
        return None


def takes_ids(definition: GraphQLField, argument: str) -> bool:
    """Whether an argument of a field is of type `ID` or a list of it."""
    declared = definition.args.get(argument)
    return declared is not None and get_named_type(declared.type) is GraphQLID


def spreads(selection_set: SelectionSetNode) -> list[str]:
    """The names spread anywhere below a selection set, fragments not followed."""
    names: list[str] = []
    stack = [selection_set]
    while stack:
        for selection in stack.pop().selections:
            if isinstance(selection, FragmentSpreadNode):
                names.append(selection.name.value)
            elif isinstance(selection, FieldNode | InlineFragmentNode) and selection.selection_set:
                stack.append(selection.selection_set)
    return names
