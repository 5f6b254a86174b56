"""The numbers the edge enforces."""

from dataclasses import dataclass

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class EdgeLimits:
    """Limits of one request, one operation and one connection; sizes in bytes, times in seconds.

    Counts of a document (`depth` to `cost`) are of the chosen operation with its fragments
    spread. `depth` is not counted below `__schema` and `__type`.
    """

    body_bytes: int = MEBIBYTE
    file_bytes: int = 25 * MEBIBYTE
    files: int = 5
    json_depth: int = 64
    json_values: int = 20_000
    """Values of one request, keys included: each costs time before anybody is asked for rights."""
    integer_digits: int = 40

    tokens: int = 2_000
    depth: int = 12
    aliases: int = 30
    root_fields: int = 20
    directives: int = 8
    variables: int = 50
    cost: int = 1_000
    page: int = 100
    ids: int = 100
    errors: int = 5
    operation_seconds: float = 10.0

    default_page: int = 20
    """Items assumed of a field that takes `first` or `last` and was given neither."""
    default_list: int = 10
    """Items assumed of a list without a size."""
    mutation_cost: int = 10
    introspection_cost: int = 100

    cached_documents: int = 1_000
    cached_tokens: int = 100_000
    """Tokens of all cached documents together: what bounds the cache's memory."""
    cached_text: int = 16_384
    """Characters of the longest document that is cached."""

    sse_keepalive_seconds: float = 15.0
    stall_seconds: float = 10.0
    """How long a client may leave its stream unread before it is closed (sockets: 1013), or send
    nothing more of its body."""

    ws_init_seconds: float = 10.0
    ws_operations: int = 20
    ws_message_bytes: int = MEBIBYTE
    ws_messages_per_second: float = 50.0
    ws_message_burst: int = 100
    ws_connections_per_user: int = 5
    ws_outbox_frames: int = 128
