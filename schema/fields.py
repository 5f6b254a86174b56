"""The one field adapter: relations as batch functions, mutations with a permission.

A relation is written for a whole level at once, `(parents, context, **args) -> results`, so N+1
queries cannot be written; graphql-core asks per object and the adapter collects the level.
"""

import asyncio
import dataclasses
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Annotated, Any, get_args

import strawberry
from strawberry.types import Info

from resolvers.access import Permission, missing
from resolvers.audit import Action
from resolvers.context import RequestContext
from resolvers.mutations import Prepare, Work, perform, refusal_of
from resolvers.names import camel_case
from resolvers.refusals import Refusal, RefusalCode
from schema.enums import described_enum

Batch = Callable[..., Awaitable[Sequence[Any]]]

PERMISSIONS: dict[tuple[str, str], Permission] = {}
"""(operation kind, field name) -> the permission declared on it."""


def described(text: str) -> Any:
    """A field that is an attribute of its row."""
    return strawberry.field(description=text)


def batched(text: str, **descriptions: str) -> Callable[[Batch], Any]:
    """A field whose function answers for all parents of a level: `(parents, context, **args)`.

    Its annotated return type is `Sequence[X]`; the field's type is X. A `Refusal` in a parent's
    place refuses the field there alone. `descriptions` has one entry for each argument.
    """

    def adapt(function: Batch) -> Any:
        signature = inspect.signature(function)
        arguments = list(signature.parameters.values())[2:]
        (result,) = get_args(signature.return_annotation)

        async def resolve(root: Any, info: Info, **values: Any) -> Any:
            return await _collect(function, root, info.context, values)

        return strawberry.field(
            resolver=_with_signature(resolve, function, arguments, descriptions, result),
            description=text,
        )

    return adapt


async def _collect(
    function: Batch, root: Any, context: RequestContext, values: dict[str, Any]
) -> Any:
    key = (function, _frozen(values))
    waiting = context.batches.get(key)
    if waiting is None:
        future: asyncio.Future[Sequence[Any]] = asyncio.get_running_loop().create_future()
        waiting = context.batches[key] = ([], future)
        # One more turn of the loop: siblings come to this field a turn apart at the most.
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, _flush, function, context, values, key)
    parents, future = waiting
    place = len(parents)
    parents.append(root)
    answer = (await asyncio.shield(future))[place]
    if isinstance(answer, Refusal):
        raise answer
    return answer


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple((k, _frozen(v)) for k, v in sorted(value.items()))
    if isinstance(value, list):
        return tuple(_frozen(v) for v in value)
    return value


def _flush(function: Batch, context: RequestContext, values: dict[str, Any], key: object) -> None:
    parents, future = context.batches.pop(key)

    async def answer() -> None:
        try:
            results = await function(parents, context, **values)
            if len(results) != len(parents):
                raise RuntimeError(f"{function.__qualname__} answered for the wrong number")
        except Exception as e:  # noqa: BLE001 - handed to every field that waits
            if not future.done():
                future.set_exception(refusal_of(e))
                future.exception()
        except BaseException:
            future.cancel()
            raise
        else:
            if not future.done():
                future.set_result(results)

    task = asyncio.ensure_future(answer())
    future.add_done_callback(lambda _: task.cancel() if future.cancelled() else None)


def root_field(text: str, **descriptions: str) -> Callable[[Callable[..., Any]], Any]:
    """A field of Query: `(context, **args) -> X`."""

    def adapt(function: Callable[..., Awaitable[Any]]) -> Any:
        signature = inspect.signature(function)
        arguments = list(signature.parameters.values())[1:]

        async def resolve(root: Any, info: Info, **values: Any) -> Any:
            try:
                return await function(info.context, **values)
            except Exception as e:
                raise refusal_of(e) from e

        return strawberry.field(
            resolver=_with_signature(
                resolve, function, arguments, descriptions, signature.return_annotation
            ),
            description=text,
        )

    return adapt


def subscription(
    text: str, permission: Permission, **descriptions: str
) -> Callable[[Callable[..., AsyncGenerator[Any, None]]], Any]:
    """A field of Subscription: an async generator `(context, **args)`."""

    def adapt(function: Callable[..., AsyncGenerator[Any, None]]) -> Any:
        signature = inspect.signature(function)
        arguments = list(signature.parameters.values())[1:]
        PERMISSIONS["subscription", camel_case(function.__name__)] = permission

        async def resolve(root: Any, info: Info, **values: Any) -> AsyncIterator[Any]:
            try:
                async with aclosing(function(info.context, **values)) as events:
                    async for event in events:
                        yield event
            except Exception as e:
                raise refusal_of(e) from e

        return strawberry.subscription(
            resolver=_with_signature(
                resolve, function, arguments, descriptions, signature.return_annotation
            ),
            description=text,
        )

    return adapt


described_enum(
    RefusalCode,
    "Why a request was declined; also in `extensions.code` of an error.",
    BAD_INPUT="A value is not acceptable; `path` names it.",
    UNAUTHENTICATED="No valid access token came with the request.",
    TOKEN_EXPIRED="The access token has expired; get a new one and repeat the request.",  # noqa: S106 - a description
    FORBIDDEN="None of your roles gives the permission.",
    NOT_FOUND="There is no such object, or it is not yours to know of.",
    CONFLICT="Somebody changed the object meanwhile; read it again.",
    INVALID_STATE="The object's state does not allow this now.",
    IDEMPOTENCY_CONFLICT="The idempotency key was used before with other input.",
    LIMIT_EXCEEDED="A limit was exceeded; the message names it and its value.",
    TOO_LARGE="The body or file is larger than the server takes.",
    UNSUPPORTED_FILE="The file is of a kind the server cannot read.",
    UNKNOWN_MODEL="No such language model is offered here.",
    PROVIDER_NOT_APPROVED="The organization has not approved the model's provider.",
    RESYNC="The stream no longer goes back to this `afterSeq`; start from a snapshot.",
    UNAVAILABLE="Something the server needs is away; try again shortly.",
    TIMEOUT="The operation took longer than the server allows.",
    INVALID_DOCUMENT="The GraphQL document is not valid for this schema.",
    INTERNAL="Something unforeseen; quote the id when you report it.",
)


@strawberry.type(description="Why a mutation was declined. Nothing was changed.")
class UserError:
    code: RefusalCode = described("What kind of refusal this is.")
    message: str = described("What was wrong and what to do, for the person who asked.")
    path: list[str] = described("The input field it speaks of; empty when it is the whole.")


def mutation(
    work: Work,
    *,
    permission: Permission,
    input_type: type,
    payload: type,
    noun: str,
    load: Callable[[RequestContext, Sequence[Any]], Awaitable[Sequence[Any]]],
    text: str,
    many: bool = False,
    about: str | None = None,
    prepare: Prepare | None = None,
) -> Any:
    """A field of Mutation: one input, one payload `{<noun>, userErrors}`.

    `work` gets the input's fields by name; `load` reads back what the ids it returned name. They
    are ids of the noun's type, unless of the type `about`.
    """
    name = camel_case(work.__name__)
    object_type = about or _type_name(payload, noun)
    PERMISSIONS["mutation", name] = permission

    async def resolve(root: Any, info: Info, input: Any) -> Any:  # noqa: A002 - the API's name
        values = {f.name: getattr(input, f.name) for f in dataclasses.fields(input)}
        key = values.pop("idempotency_key")
        try:
            action = Action(name, permission, object_type, values)
            ids = await perform(info.context, action, work, key, prepare)
            rows = await load(info.context, ids)
            if None in rows:  # a replay, and meanwhile it was deleted or the rights were taken
                raise missing("object")
        except Refusal as refusal:
            return payload(**{noun: None}, user_errors=[_user_error(refusal)])
        return payload(**{noun: list(rows) if many else rows[0]}, user_errors=[])

    argument = inspect.Parameter(
        "input", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=input_type
    )
    return strawberry.mutation(
        resolver=_with_signature(resolve, work, [argument], {"input": "What to do."}, payload),
        description=text,
        name=name,
    )


def _type_name(payload: type, noun: str) -> str:
    """The name of the type a payload carries as `noun`: an optional one or a list of it."""
    (shown, _) = get_args(payload.__annotations__[noun])
    return str((*get_args(shown), shown)[0].__name__)


def _user_error(refusal: Refusal) -> UserError:
    return UserError(
        code=refusal.code,
        message=refusal.message,
        path=list(refusal.path),
    )


def _with_signature(
    resolve: Callable[..., Any],
    function: Callable[..., Any],
    arguments: Sequence[inspect.Parameter],
    descriptions: dict[str, str],
    result: Any,
) -> Callable[..., Any]:
    own = list(inspect.signature(resolve).parameters.values())[:2]
    shown = [
        p.replace(
            kind=inspect.Parameter.KEYWORD_ONLY,
            annotation=_argument(p.annotation, descriptions[p.name]),
        )
        for p in arguments
    ]
    resolve.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # read by strawberry
        [*own, *shown], return_annotation=result
    )
    resolve.__annotations__ = {p.name: p.annotation for p in [*own, *shown]} | {"return": result}
    resolve.__name__ = function.__name__
    resolve.__qualname__ = function.__qualname__
    resolve.__module__ = function.__module__
    return resolve


def _argument(annotation: Any, text: str) -> Any:

    return Annotated[annotation, strawberry.argument(description=text)]
