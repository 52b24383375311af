"""Reports made of a policy: with and without its memory, or beside another policy."""

from collections.abc import Iterator, Mapping

import numpy as np

from tfmem.environments import GymnasiumEnvironment
from tfmem.inspection.comparison import compare
from tfmem.inspection.evidence import Effect, evidence
from tfmem.inspection.report.contents import Episode, Fact, Report, Table
from tfmem.inspection.summary import ATTENTION, READS, WRITES, summarize
from tfmem.inspection.trace import Explained, Trace, trace

# Longer episodes are not played again for every perturbation.
REPLAYED = 1_000
# The share of what is written that the slots in use hold.
IN_USE = 0.9


def memory_report(
    policy: Explained,
    environment: GymnasiumEnvironment,
    *,
    name: str,
    env_id: str,
    seed: int,
    gamma: float,
    max_steps: int | None = None,
) -> Report:
    """An episode of a policy, the same with its memory ablated, and what its memory is needed for.

    Args:
      policy: what acts; see `tfmem.inspection.trace`.
      environment: one environment.
      name: of the policy, for people.
      env_id: of the environment, for people.
      seed: of the episode.
      gamma: discount of the TD errors.
      max_steps: the episode is cut after so many.

    Raises:
      InvalidInput: as `tfmem.inspection.trace`.

    Example:
      >>> report = memory_report(policy, environment, name="run 1", env_id="CartPole-v1", seed=0, gamma=0.99)
      >>> write_page(report, "report.html")
    """
    kept, ablated = (
        trace(policy, environment, seed=seed, gamma=gamma, max_steps=max_steps, ablate_memory=ablate)
        for ablate in (False, True)
    )
    effects = evidence(kept, policy, environment, seed=seed, play=len(kept) <= REPLAYED)
    episodes = [
        Episode("With memory", kept, asides=dict(_asides(effects, kept))),
        Episode("Without memory", ablated, detailed=False),
    ]
    facts = [
        Fact("Return with memory", f"{kept.total_reward:.3f}", "The sum of the episode's rewards."),
        Fact(
            "Return without memory",
            f"{ablated.total_reward:.3f}",
            "The same seed, with the memory put back to its start before every step.",
        ),
        *_facts(kept),
    ]
    about = f"One greedy episode of {name} from seed {seed}, {_length(kept)}."
    return Report(env_id, about, episodes, facts, [_evidence_table(effects, kept)] if effects else [])


def comparison_report(
    policies: Mapping[str, Explained],
    environment: GymnasiumEnvironment,
    *,
    env_id: str,
    seeds: range,
    gamma: float,
    max_steps: int | None = None,
) -> Report:
    """Two policies on the same seeds: the returns of all, and the first episode step by step.

    Args:
      policies: two, by their names for people.
      environment: one environment, which both fit.
      env_id: of the environment, for people.
      seeds: of the episodes.
      gamma: discount of the TD errors.
      max_steps: episodes are cut after so many.

    Raises:
      InvalidInput: as `tfmem.inspection.compare`.
    """
    names, (a, b) = list(policies), policies.values()
    compared = compare(a, b, environment, seeds=seeds, max_steps=max_steps)
    episodes = [
        Episode(name, trace(policy, environment, seed=seeds[0], gamma=gamma, max_steps=max_steps))
        for name, policy in policies.items()
    ]
    facts = [
        Fact(f"Mean return of {name}", f"{mean:.3f}", f"Over the {len(seeds)} seeds of the table below.")
        for name, mean in zip(names, compared.mean_returns, strict=True)
    ]
    first = compared.first_difference
    facts.append(
        Fact(
            "First other action",
            _first(first[0]),
            "The step at which the two first act differently in the episode shown.",
        )
    )
    rows = [
        (str(seed), *(f"{value:.3f}" for value in returns), _first(step))
        for seed, returns, step in zip(compared.seeds, compared.returns, first, strict=True)
    ]
    table = Table(
        "The same seeds",
        "Each row is an episode that both have played from the same seed, with their returns and the step of "
        "their first different action.",
        ("Seed", *(f"Return of {name}" for name in names), "First other action"),
        rows,
    )
    about = f"{names[0]} beside {names[1]}, greedy, from seed {seeds[0]}."
    return Report(f"{env_id}: two policies", about, episodes, facts, [table])


def _first(step: int) -> str:
    return "never" if step < 0 else f"step {step}"


def _length(episode: Trace) -> str:
    return f"{len(episode)} steps{', then cut' if episode.truncated else ''}"


def _facts(episode: Trace) -> Iterator[Fact]:
    summary = summarize(episode)
    if READS in summary.entropy:
        entropy = summary.entropy[READS].mean()
        slots = episode.state[READS].shape[-1]
        yield Fact(
            "Slots in one read",
            f"{np.exp(entropy):.1f}",
            f"A head spreads a read over about so many of the {slots} slots (entropy {entropy:.2f} nats).",
        )
    if WRITES in summary.usage:
        use = summary.usage[WRITES].mean(axis=0)
        used = int(np.searchsorted(np.cumsum(np.sort(use)[::-1]), IN_USE)) + 1
        yield Fact(
            "Slots in use",
            f"{used} of {len(use)}",
            f"So many slots get {IN_USE:.0%} of what is written in the episode.",
        )
    if summary.reads is not None and np.isfinite(summary.reads.mean).any():
        heads = summary.reads.mean[:, np.isfinite(summary.reads.mean).any(axis=0)]
        yield Fact(
            "Reads reach back",
            f"{np.nanmean(heads):.1f} steps",
            f"How long ago what is read was written, on average; "
            f"{np.nanmean(heads, axis=0).max():.1f} for the head that looks back farthest.",
        )
    if summary.attention is not None:
        entropy = summary.entropy[ATTENTION].mean()
        yield Fact(
            "Attention reaches back",
            f"{np.nanmean(summary.attention.mean):.1f} steps",
            f"On average; it spreads over about {np.exp(entropy):.1f} steps (entropy {entropy:.2f} nats).",
        )


_TAKEN = {
    "most_read": "The slot read most",
    "least_read": "The slot read least",
    "most_attended": "The step attended to most",
    "least_attended": "The step attended to least",
    "everything": "The whole memory",
}


def _taken(name: str) -> str:
    head = name.removeprefix("most_read_by_")
    return _TAKEN[name] if head == name else f"The slot read most by head {int(head) + 1}"


def _evidence_table(effects: Mapping[str, Effect], episode: Trace) -> Table:
    rows = [
        (
            _taken(name),
            f"{effect.rate:.0%}",
            f"{effect.mean_q_change:.4f}",
            f"{effect.mean_regret:.4f}",
            "not played" if effect.total_reward is None else f"{effect.total_reward:.3f}",
        )
        for name, effect in effects.items()
    ]
    return Table(
        "Is the picture true?",
        "Every step is taken again with something erased from the memory before it: if what the policy reads "
        "matters, erasing it changes what it does, and erasing what it does not read changes nothing. The "
        "last column is the return of an episode played that way throughout; with all its memory it is "
        f"{episode.total_reward:.3f}.",
        ("Erased", "Action changes", "Change of Q", "Expected loss", "Return"),
        rows,
    )


def _asides(effects: Mapping[str, Effect], episode: Trace) -> Iterator[tuple[str, np.ndarray]]:
    """What a step would have been like, for the page to tell at every step."""
    for name in ("most_read", "least_read", "most_attended"):
        if name in effects:
            yield f"Action without {_taken(name).lower()}", effects[name].action
    instead = effects["most_attended"].attended if "most_attended" in effects else None
    if instead is not None:
        newest = episode.state[ATTENTION].shape[1] - 1
        yield "How many steps ago it would then attend to most", newest - instead
