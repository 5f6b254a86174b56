"""The token that stops a team's run: AutoGen's, under a name the worker may import."""

from autogen_core import CancellationToken

__all__ = ["CancellationToken"]
