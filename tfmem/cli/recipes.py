"""`tfmem recipes`."""

import json

import click

from tfmem.cli.common import JSON, reports_errors


@click.command()
@JSON
@reports_errors
def recipes(as_json: bool) -> None:
    """List the recipes: tasks where memory pays, what each remembers and needs.

    A recipe is an environment and how to train on it: tfmem train recipes/NAME --out DIR.

    Example: tfmem recipes
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    from tfmem.recipes import RECIPES

    if as_json:
        parts = {
            recipe.env_id: {
                "domain": recipe.domain,
                "remembers": recipe.remembers,
                "preset": recipe.preset,
                "settings": dict(recipe.settings),
                "install": recipe.needs.install,
                "missing": recipe.needs.missing(),
            }
            for recipe in RECIPES.values()
        }
        click.echo(json.dumps(parts))
        return
    table = Table(Column("recipe", no_wrap=True), "domain", "what has to be remembered", "installed")
    for recipe in RECIPES.values():
        installed = "yes" if not recipe.needs.missing() else escape(recipe.needs.install)
        table.add_row(recipe.env_id, recipe.domain, recipe.remembers, installed)
    Console().print(table)
