"""Documents parsed, measured and validated once, and remembered by their text."""

import asyncio
import re
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    DocumentNode,
    FloatValueNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSchema,
    GraphQLSyntaxError,
    IntValueNode,
    OperationDefinitionNode,
    StringValueNode,
    Visitor,
    parse,
    validate,
    visit,
)

from ops.edge.cost import CostPass, OperationMeasure
from ops.edge.errors import (
    ErrorObject,
    RequestRefused,
    document_error,
    error_object,
    limit_error,
)
from ops.edge.limits import EdgeLimits
from resolvers.refusals import RefusalCode

SUSPICIOUS_LITERAL = re.compile(r"\\u0000|\\u\{0+\}|[0-9]{20}")
TOO_MANY_TOKENS = "Document contains more than"
BAD_ESCAPE = "Invalid Unicode escape sequence"
MEASURES_KEPT = 64


@dataclass(slots=True)
class Document:
    """A parsed document. `errors` is None until it was validated."""

    ast: DocumentNode
    operations: tuple[OperationDefinitionNode, ...]
    fragments: Mapping[str, FragmentDefinitionNode]
    errors: list[ErrorObject] | None = None
    measures: dict[object, OperationMeasure] = field(default_factory=dict)
    sized_by: dict[str | None, frozenset[str]] = field(default_factory=dict)

    def operation(self, name: str | None) -> OperationDefinitionNode:
        """The operation to run. Raises `RequestRefused` when the name doesn't settle it."""
        if name is None:
            if len(self.operations) == 1:
                return self.operations[0]
            message = (
                "The document has several operations; name one in `operationName`."
                if self.operations
                else "The document has no operation."
            )
            raise _unchosen(message)
        for operation in self.operations:
            if operation.name and operation.name.value == name:
                return operation
        raise _unchosen(f"The document has no operation named {name[:80]!r}.")


def _unchosen(message: str) -> RequestRefused:
    return RequestRefused([error_object(RefusalCode.BAD_INPUT, message)], wellformed=True)


class Documents:
    """A cache of documents for one schema, least recently used first out.

    Bounded by entries and by tokens, for an entry's memory goes with its tokens. A document
    with a syntax error or a bad literal is remembered as its errors. Parsing and validation of
    an unknown document run in one thread of their own: a hostile document of 3 KB takes the
    validator hundreds of milliseconds, which the event loop must not lose.
    """

    def __init__(self, schema: GraphQLSchema, limits: EdgeLimits) -> None:
        self._schema = schema
        self._limits = limits
        self._cache: OrderedDict[str, Document | list[ErrorObject]] = OrderedDict()
        self._tokens = 0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="graphql-documents")
        self.misses = 0

    async def prepared(
        self, text: str, operation_name: str | None, variables: Mapping[str, Any]
    ) -> tuple[Document, OperationDefinitionNode, OperationMeasure]:
        """A valid document, the chosen operation, and its measure within the limits.

        Raises `RequestRefused` for syntax errors, bad literals, exceeded limits and invalid
        documents, in this order.
        """
        found = self._cache.get(text)
        if found is None:
            self.misses += 1
            found = await self._in_thread(self._parse, text)
            self._keep(text, found)
        else:
            self._cache.move_to_end(text)
        if isinstance(found, list):
            raise RequestRefused(found, wellformed=True)
        operation = found.operation(operation_name)
        measure = self._measure(found, operation, variables)
        exceeded = measure.exceeded(self._limits)
        if exceeded:
            raise RequestRefused(exceeded[: self._limits.errors], wellformed=True)
        if found.errors is None:
            found.errors = await self._in_thread(self._validate, found.ast)
        if found.errors:
            raise RequestRefused(found.errors, wellformed=True)
        return found, operation, measure

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    def _keep(self, text: str, found: Document | list[ErrorObject]) -> None:
        if len(text) > self._limits.cached_text or text in self._cache:
            return
        self._cache[text] = found
        self._tokens += _weight(found)
        while (
            len(self._cache) > self._limits.cached_documents
            or self._tokens > self._limits.cached_tokens
        ):
            _, oldest = self._cache.popitem(last=False)
            self._tokens -= _weight(oldest)

    def _parse(self, text: str) -> Document | list[ErrorObject]:
        try:
            ast = parse(text, max_lexical_tokens=self._limits.tokens)
        except GraphQLSyntaxError as error:
            return [_syntax_error(error, self._limits.tokens)]
        if SUSPICIOUS_LITERAL.search(text):
            literals = _Literals(self._limits.integer_digits)
            visit(ast, literals)
            if literals.errors:
                return literals.errors[: self._limits.errors]
        definitions = ast.definitions
        return Document(
            ast,
            tuple(each for each in definitions if isinstance(each, OperationDefinitionNode)),
            {
                each.name.value: each
                for each in definitions
                if isinstance(each, FragmentDefinitionNode)
            },
        )

    def _validate(self, ast: DocumentNode) -> list[ErrorObject]:
        errors = validate(self._schema, ast, max_errors=self._limits.errors)
        return [
            document_error(error, RefusalCode.INVALID_DOCUMENT)
            for error in errors[: self._limits.errors]
        ]

    def _measure(
        self, document: Document, operation: OperationDefinitionNode, variables: Mapping[str, Any]
    ) -> OperationMeasure:
        name = operation.name.value if operation.name else None
        sized_by = document.sized_by.get(name)
        if sized_by is not None:
            sizes = tuple(_hashable(variables, each) for each in sorted(sized_by))
            known = document.measures.get((name, len(variables), sizes))
            if known is not None:
                return known
        cost_pass = CostPass(self._schema, document.fragments, operation, variables, self._limits)
        try:
            measure = cost_pass.run()
        except RecursionError:
            message = f"The operation nests too deep; {self._limits.depth} fields are allowed."
            error = limit_error("depth", self._limits.depth, message)
            raise RequestRefused([error], wellformed=True) from None
        document.sized_by[name] = measure.sized_by
        if len(document.measures) < MEASURES_KEPT:
            sizes = tuple(_hashable(variables, each) for each in sorted(measure.sized_by))
            document.measures[name, len(variables), sizes] = measure
        return measure


def _hashable(variables: Mapping[str, Any], name: str) -> object:
    """A variable's value as part of a key; what cannot be a size is one and the same."""
    value = variables.get(name, "absent")
    return value if isinstance(value, int | float | None) and value is not True else "other"


def _weight(found: Document | list[ErrorObject]) -> int:
    return found.ast.token_count if isinstance(found, Document) else 1


def _syntax_error(error: GraphQLError, tokens: int) -> ErrorObject:
    message = error.message.removeprefix("Syntax Error: ")
    if message.startswith(TOO_MANY_TOKENS):
        return limit_error("tokens", tokens, f"The document has more than {tokens} tokens.")
    code = RefusalCode.INVALID_DOCUMENT
    if message.startswith(BAD_ESCAPE):
        code = RefusalCode.BAD_INPUT
    return document_error(error, code)


class _Literals(Visitor):
    """Finds literals that no resolver should see: NUL characters, endless integers."""

    def __init__(self, digits: int) -> None:
        super().__init__()
        self.digits = digits
        self.errors: list[ErrorObject] = []

    def enter_string_value(self, node: StringValueNode, *_: object) -> None:
        if "\0" in node.value:
            self._refuse("Text must not contain the NUL character.", node)

    def enter_int_value(self, node: IntValueNode, *_: object) -> None:
        self._number(node)

    def enter_float_value(self, node: FloatValueNode, *_: object) -> None:
        self._number(node)

    def _number(self, node: IntValueNode | FloatValueNode) -> None:
        if len(node.value) > self.digits:
            self._refuse(f"A number must not have more than {self.digits} digits.", node)

    def _refuse(self, message: str, node: Any) -> None:
        self.errors.append(document_error(GraphQLError(message, node), RefusalCode.BAD_INPUT))
