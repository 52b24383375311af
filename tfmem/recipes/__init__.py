"""Recipes: runnable tasks from every domain where memory pays.

Importing this registers the environments as `recipes/NAME`; what each needs is imported when it is made. The
environments are published ones in thin wrappers of ours, which make them partially observable or give them
discrete actions: their returns are not those of the published environments.

Example:
  >>> from tfmem.training import make_config, train
  >>> train(make_config("recipes/memory-s7"), "runs/memory-s7")
"""

import gymnasium as gym

from tfmem.recipes import (
    atari,
    board,
    manipulation,
    meta_learning,
    multi_agent,
    navigation,
    recommendation,
    smart_home,
    strategy,
)
from tfmem.recipes.recipe import Needs, Recipe

_DOMAINS = (
    *(atari, strategy, board, navigation, manipulation, smart_home, recommendation),
    *(multi_agent, meta_learning),
)

RECIPES: dict[str, Recipe] = {recipe.env_id: recipe for domain in _DOMAINS for recipe in domain.RECIPES}

for _recipe in RECIPES.values():
    gym.register(
        _recipe.env_id,
        _recipe.entry_point,
        vector_entry_point=_recipe.vector_entry_point,
        kwargs=dict(_recipe.kwargs),
        max_episode_steps=_recipe.max_episode_steps,
        disable_env_checker=True,
    )

__all__ = ["RECIPES", "Needs", "Recipe"]
