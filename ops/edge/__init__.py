"""The GraphQL edge: a schema served over HTTP, server-sent events and WebSockets."""

from ops.edge.contexts import Contexts, Credentials, OperationFacts, Principal, Throttled
from ops.edge.edge import GraphQLEdge
from ops.edge.limits import EdgeLimits
from ops.edge.server import DrainingServer

__all__ = [
    "Contexts",
    "Credentials",
    "DrainingServer",
    "EdgeLimits",
    "GraphQLEdge",
    "OperationFacts",
    "Principal",
    "Throttled",
]
