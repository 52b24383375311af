"""`tfmem report`."""

import warnings
from pathlib import Path
from typing import Any

import click

from tfmem.cli.common import JSON, reports_errors, show
from tfmem.cli.policies import ENV_ARGUMENTS, ENVIRONMENT, EPISODE_SEED, StoredPolicy, stored_policy
from tfmem.errors import InvalidInput


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The page, an HTML file."
)
@ENVIRONMENT
@ENV_ARGUMENTS
@EPISODE_SEED
@click.option("--steps", type=click.IntRange(1), help="The episode is cut after so many.")
@click.option(
    "--gamma", type=click.FloatRange(0, 1), help="Discount of TD errors; the policy's own by default."
)
@click.option("--compare", is_flag=True, help="Show two policies, PATH and PATH, on the same seeds.")
@click.option(
    "--episodes", type=click.IntRange(1), default=10, show_default=True, help="Seeds that --compare plays."
)
@JSON
@reports_errors
def report(
    paths: tuple[Path, ...],
    out: Path,
    env_id: str | None,
    env_arguments: tuple[str, ...],
    seed: int,
    steps: int | None,
    gamma: float | None,
    compare: bool,
    episodes: int,
    as_json: bool,
) -> None:
    """Write a page that shows an episode of a policy: what it sees, does, attends to, reads and writes.

    PATH is a run, or a version folder of an export. The page needs no network; beside it lies NAME.npz with
    all arrays where an episode is too long for a page. The environment draws its frames where it can.

    Example: tfmem report runs/recall --out recall.html
    """
    from tfmem.inspection.report import comparison_report, memory_report, write_page
    from tfmem.progress import working

    if len(paths) != (2 if compare else 1):
        raise InvalidInput(
            f"give one PATH, or two with --compare; found {len(paths)}{' with --compare' if compare else ''}"
        )
    if out.suffix != ".html":
        raise InvalidInput(f"--out must be a file NAME.html, not {str(out)!r}")
    with working("loading"):
        policies = [stored_policy(path) for path in paths]
        first = policies[0]
        environment, env_id = _drawing(first, env_id, env_arguments)
        gamma = first.gamma if gamma is None else gamma
        if gamma is None:
            raise InvalidInput(f"{first.path} does not say its discount; give --gamma")
    with working("playing"):
        if compare:
            named = dict(zip(_names(paths), (stored.policy for stored in policies), strict=True))
            told = comparison_report(
                named,
                environment,
                env_id=env_id,
                seeds=range(seed, seed + episodes),
                gamma=gamma,
                max_steps=steps,
            )
        else:
            told = memory_report(
                first.policy,
                environment,
                name=str(first.path),
                env_id=env_id,
                seed=seed,
                gamma=gamma,
                max_steps=steps,
            )
    with working("writing"):
        written = write_page(told, out)
    episode = told.episodes[0].trace
    result: dict[str, Any] = {"page": str(written.page), "bytes": written.bytes, "steps": len(episode)}
    if written.arrays is not None:
        result["arrays"] = str(written.arrays)
    show(result | {f"return: {one.name}": one.trace.total_reward for one in told.episodes}, as_json)


def _drawing(stored: StoredPolicy, env_id: str | None, env_arguments: tuple[str, ...]) -> Any:
    """The environment with frames where it draws any, and its id."""
    from tfmem.environments.gymnasium_environment import EnvironmentFailed

    with warnings.catch_warnings():
        # Gymnasium's, where an environment does not list the mode: then there are no frames.
        warnings.simplefilter("ignore")
        try:
            found = stored.load_environment(env_id, env_arguments, defaults={"render_mode": "rgb_array"})
            found[0].reset()
            found[0].render()
            return found
        except EnvironmentFailed as error:
            click.echo(f"no frames: {error}", err=True)
        except InvalidInput:
            pass  # it takes no such argument, or is wrong in another way that comes up again
    return stored.load_environment(env_id, env_arguments)


def _names(paths: tuple[Path, ...]) -> list[str]:
    return [f"{letter} ({'/'.join(path.parts[-2:])})" for letter, path in zip("AB", paths, strict=True)]
