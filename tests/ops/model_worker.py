"""`assay worker` whose study team is a language model at the address in the first argument."""

import sys

from autogen_core.models import ModelInfo
from autogen_ext.models.openai import OpenAIChatCompletionClient

import ops.wiring
from agents.ports import Usage
from agents.study.members import StudyMembers, model_members
from ops.cli import app


def members(address: str) -> StudyMembers:
    """The planner, tutor and critic as one model, at 2 millionths a token read and 10 a written."""
    client = OpenAIChatCompletionClient(
        model="slow",
        base_url=address,
        api_key="none",
        max_retries=0,
        include_name_in_message=False,
        model_info=ModelInfo(
            vision=False,
            function_calling=False,
            json_output=True,
            structured_output=True,
            family="unknown",
        ),
    )

    def price(usage: Usage) -> int:
        return 2 * usage.input_tokens + 10 * usage.output_tokens

    return model_members(client, provider="openai", model="slow", price=price)


if __name__ == "__main__":
    made = members(sys.argv.pop(1))
    ops.wiring.offline_members = lambda _embedder: made  # type: ignore[assignment]
    app()
