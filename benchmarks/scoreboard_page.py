"""The scoreboard's page, docs/scoreboard.md, and its plots, from the results that are there."""

from pathlib import Path
from statistics import mean, stdev

from scoreboard_rows import EPISODES, PYTORCH, RECIPE_ROWS, ROWS, SYSTEMS, Row, outdated, results_of

DOCS = Path(__file__).parent.parent.resolve() / "docs"
SOLVED = 0.995  # of the greatest return that there is


def solved_at(row: Row, one: dict) -> tuple[int, float] | None:
    """Environment steps and seconds at the first evaluation that shows the task solved."""
    if row.greatest is None:
        return None
    found = [point for point in one["curve"] if point[1] >= SOLVED * row.greatest]
    return (found[0][0], found[0][2]) if found else None


def line(row: Row, system: str, runs: list[dict]) -> str:
    returns = [r["return"] for r in runs]
    spread = f" ± {stdev(returns):.3f}" if len(returns) > 1 else ""
    when = [solved_at(row, r) for r in runs]
    solved = ", ".join(f"{w[0] / 1000:.0f} k" if w else "no" for w in when) if row.greatest else ""
    config = runs[0]["config"]
    published = "" if row.published is None else f"{row.published:g}"
    return " | ".join(
        [
            f"| {row.title}",
            SYSTEMS[system] + (" †" if any(outdated(row, run) for run in runs) else ""),
            # A row's budget may have been changed since.
            f"{config.get('env_steps', row.steps) / 1000:g} k",
            ", ".join(f"{r:.3f}" for r in returns),
            f"{mean(returns):.3f}{spread}",
            f"{mean(r['best_evaluation'] for r in runs):.3f}",
            f"{mean(r['return_without_memory'] for r in runs):.3f}"
            if "return_without_memory" in runs[0]
            else "",
            solved,
            f"{mean(r['wall_s'] for r in runs):.0f}",
            f"{'its own' if system in PYTORCH else row.preset}, gamma={config['gamma']:g}",
            f"{published} |",
        ]
    )


HEAD = f"""# Scoreboard

Written by `python benchmarks/scoreboard.py`; every run, its configuration and its machine are in
[benchmarks/results/scoreboard](../benchmarks/results/scoreboard). Each run had one core, a few not all of the time for
themselves (the first LSTM on MemoryS9 shared it for ten minutes).

- *return*: the mean of {EPISODES} greedy episodes after the last step, on environment seeds that training never
  uses; *without memory*: the same policy, its memory put back to the initial one before every step.
- *best*: the greatest of the evaluations during training, averaged over seeds.
- *solved*: the environment step of the first evaluation of 64 episodes at {SOLVED:g} of the greatest possible
  return or above, for each seed.
- †: measured with an earlier form of the preset: other heads, Huber's loss, one hidden layer, fewer and larger updates,
  heads that stray more in long episodes, slots of actions without keys, queries and neighbours, or only, as in rows of boards, a head
  that walks back from anywhere in place of from where writing begins, and, of CartPole, `battery` and `foraging-shared`, values that were squeezed and are not now, or the reverse ([what was tried](learning.md)).
- In all runs of ours but those of CartPole without †, of `foraging-shared`, of `reach` with ScanNTM and with the goal in sight,
  of BattleshipEasy, MineSweeperEasy and Medium and ConcentrationMedium, and those of HigherLowerHard without ScanNTM,
  the learning rate fell by rounds of updates in place of environment steps: it ended at up to .17 of its start in place of .1, and got there sooner where episodes are short.
- *preset*: all that a run is given; windows, slots and rounds follow from the length of episodes, and Battleship,
  Concentration and MineSweeper, which ask for the previous action, have a slot for every action. TF-Agents' agent
  gets the preset's sizes, rates, loss, target and windows, as far as it has them; RecurrentPPO its own defaults, and rollouts of 2,048 steps at
  least; tianshou's agent what its own recurrent example sets, with traces of 16 frames in place of 4.
"""  # noqa: E501
TABLE = """\
| task | system | steps | return, each seed | mean | best | without memory | solved | seconds | preset | published |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"""  # noqa: E501
RECIPES = """
## Recipes

The same of [the recipes](recipes.md). *No memory* is a policy that was trained without any. The machine had
other work meanwhile: a run by itself takes fewer seconds.
"""


def table(rows: tuple[Row, ...]) -> list[str]:
    lines = [TABLE]
    for row in rows:
        runs = results_of(row)
        for system in row.systems:
            mine = [r for r in runs if r["system"] == system]
            if mine:
                lines.append(line(row, system, mine))
    return lines


def page() -> str:
    sources = [
        f"- {row.title}: {row.published:g}, {row.source}."
        for row in ROWS
        if results_of(row) and row.published is not None
    ]
    sources = list(dict.fromkeys(sources))  # two presets on one task have one source
    lines = [HEAD, *table(ROWS), "", "Published figures:", "", *sources, RECIPES, *table(RECIPE_ROWS), ""]
    for row in (*ROWS, *RECIPE_ROWS):
        if results_of(row):
            lines += [f"![{row.title}](images/scoreboard/{row.name}.png)", ""]
    return "\n".join(lines)


def draw(row: Row) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
    for i, system in enumerate(row.systems):
        for j, one in enumerate(r for r in results_of(row) if r["system"] == system):
            steps, returns, _ = zip(*one["curve"], strict=True)
            label = SYSTEMS[system] if j == 0 else None
            axes.plot(steps, returns, color=f"C{i}", alpha=0.8, lw=1.4, label=label)
    if row.published is not None:
        axes.axhline(row.published, color="black", lw=0.8, ls=":", label="best published")
    axes.set(xlabel="environment steps", ylabel="greedy return", title=f"{row.title}: every seed")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize="small")
    path = DOCS / "images" / "scoreboard" / f"{row.name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def write_page() -> None:
    """Writes the page and draws a plot for each row that has results."""
    for row in (*ROWS, *RECIPE_ROWS):
        if results_of(row):
            draw(row)
    (DOCS / "scoreboard.md").write_text(page())
