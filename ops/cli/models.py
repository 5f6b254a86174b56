"""Language models and what they may cost."""

from typing import Annotated

import typer

from ops.cli.console import DataDir, OrganizationName, run, settings_of
from ops.model_choices import budget_of, choose_models, set_budget
from ops.wiring import open_resources

models = typer.Typer(no_args_is_help=True, help="Language models and what they may cost.")
CourseCode = Annotated[str | None, typer.Option(help="A course's code. Empty: the organization.")]


@models.command("choose")
def models_choose(
    role: Annotated[str, typer.Argument(help="planner, tutor, critic, grader_a, …")],
    chosen: Annotated[str, typer.Argument(help="As in ASSAY_STUDY_MODELS, or offline.")],
    organization: OrganizationName,
    course: CourseCode = None,
    data_dir: DataDir = None,
) -> None:
    """Choose the models of a role, for what is asked or graded from now on."""

    async def main() -> None:
        settings = settings_of(data_dir, log_level="WARNING")
        async with open_resources(settings) as resources:
            await choose_models(resources.database, settings, organization, course, role, chosen)

    run(main())


@models.command("budget")
def models_budget(
    micros: Annotated[int, typer.Argument(min=0, help="Micro-units of the currency a month.")],
    organization: OrganizationName,
    course: CourseCode = None,
    data_dir: DataDir = None,
) -> None:
    """Set what may be spent in a month, and print what is spent and set aside in this one."""

    async def main() -> None:
        settings = settings_of(data_dir, log_level="WARNING")
        async with open_resources(settings) as resources:
            database = resources.database
            await set_budget(database, organization, course, micros)
            budget = await budget_of(database, settings, organization, course)
            typer.echo(
                f"Spent this month: {budget.spent_micros}, set aside for calls that run: "
                f"{budget.reserved_micros}, in millionths of a {budget.currency}."
            )

    run(main())
