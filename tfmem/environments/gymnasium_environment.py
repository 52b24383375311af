"""Gymnasium vector environments as one batched TF-Agents environment."""

import contextlib
import difflib
import importlib
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import gymnasium as gym
import numpy as np
from tf_agents.environments import py_environment
from tf_agents.specs import array_spec, tensor_spec
from tf_agents.trajectories import time_step as ts

from tfmem.environments.spaces import (
    action_count,
    action_grid,
    bounded_parts,
    float_parts,
    observation_spec,
    require_finite,
    require_inside,
    require_numbers,
    to_action,
    to_observation,
)
from tfmem.errors import InvalidInput, TfmemError, require

# Packages that register their environments on import, by the prefix of their ids, and the extra of tfmem
# that installs them.
_REGISTERED_BY = {"popgym-": ("popgym", "popgym"), "recipes/": ("tfmem.recipes", None)}

# How the copies of an environment are stepped together; Gymnasium's own names.
Vectorization = Literal["sync", "async", "vector_entry_point"]


class EnvironmentFailed(TfmemError):
    """An environment raised, or its worker died; the message says what it raised, and chains it."""


class GymnasiumEnvironment(py_environment.PyEnvironment):
    """A `gymnasium.vector.VectorEnv` as a batched TF-Agents environment.

    Episodes end with a LAST step whose discount is 0 after a termination and 1 after a truncation, so that
    a truncated episode bootstraps. The step after a LAST one starts the next episode: its action is
    ignored, and it is FIRST with reward 0. That is Gymnasium's next-step autoreset, which the vector
    environment must use.

    Discrete and MultiDiscrete actions are one discrete choice from 0 (MultiDiscrete in C order).

    Args:
      environment: the vector environment.
      previous_action: add the previous action to the observation, 0 at an episode's start. The observation
        becomes a dict of `observation` and `previous_action`.
      previous_reward: the same with the previous reward.
      action_mask: the environment says which actions are allowed: in a part `action_mask` of its
        observations, or else in its infos by that name, from where it becomes such a part.
      seed: seeds the environments at their first reset; environment i gets `seed + i`, but where they are
        stepped by a vectorised version of theirs, which makes of it what it does.

    Raises:
      InvalidInput: when a space does not fit, or the environment resets otherwise.
      EnvironmentFailed: from `reset` and `step`, when an environment raises, gives a reward or an
        observation that is no finite number or out of bounds, or its worker has died.
    """

    def __init__(
        self,
        environment: gym.vector.VectorEnv,
        *,
        previous_action: bool = False,
        previous_reward: bool = False,
        action_mask: bool = False,
        seed: int | None = None,
    ):
        super().__init__(handle_auto_reset=False)
        mode = environment.metadata.get("autoreset_mode")
        require(
            mode == gym.vector.AutoresetMode.NEXT_STEP,
            "the vector environment's autoreset mode",
            mode,
            "AutoresetMode.NEXT_STEP",
        )
        self._environment = environment
        self._previous_action = previous_action
        self._previous_reward = previous_reward
        self._next_seed = seed
        self._action_spec = array_spec.BoundedArraySpec(
            (), np.int32, 0, action_count(environment.single_action_space) - 1, "action"
        )
        self._observation_spec = observation_spec(environment.single_observation_space)
        require_numbers(self._observation_spec)
        self._bounded = bounded_parts(self._observation_spec)
        self._floats = float_parts(self._observation_spec)
        space = environment.single_observation_space
        observed = isinstance(space, gym.spaces.Dict) and "action_mask" in space.spaces
        self._mask_from_info = action_mask and not observed
        self._adds = previous_action or previous_reward or self._mask_from_info
        if self._adds:
            self._observation_spec = {"observation": self._observation_spec}
        if self._mask_from_info:
            self._observation_spec["action_mask"] = array_spec.BoundedArraySpec(
                (self._action_spec.maximum + 1,), np.int8, 0, 1, "action_mask"
            )
        self._lifts_mask = self._adds and action_mask and observed
        if self._lifts_mask:
            self._observation_spec["action_mask"] = self._observation_spec["observation"].pop("action_mask")
        if action_mask:
            _require_mask_shape(self._observation_spec["action_mask"].shape, self._action_spec.maximum + 1)
        if previous_action:
            self._observation_spec["previous_action"] = array_spec.BoundedArraySpec(
                (), np.int64, 0, self._action_spec.maximum, "previous_action"
            )
        if previous_reward:
            self._observation_spec["previous_reward"] = array_spec.ArraySpec(
                (), np.float32, "previous_reward"
            )
        self._ended = np.ones(environment.num_envs, bool)

    @property
    def batched(self) -> bool:
        return True

    @property
    def batch_size(self) -> int:
        return self._environment.num_envs

    @property
    def action_space(self) -> gym.Space:
        """The action space of one environment, before flattening to one discrete choice."""
        return self._environment.single_action_space

    @property
    def needs_previous_action(self) -> bool:
        """Whether the environment says that observations are to hold the previous action.

        POPGym's do by `obs_requires_prev_action`. Copies in workers, or stepped in a way of their own, say
        nothing.
        """
        copies = getattr(self._environment, "envs", ())
        return any(getattr(copy.unwrapped, "obs_requires_prev_action", False) for copy in copies)

    def observation_spec(self):
        return self._observation_spec

    def action_spec(self):
        return self._action_spec

    def seed(self, seed: int) -> None:
        """The next reset starts from this seed."""
        self._next_seed = seed

    def render(self, mode: str = "rgb_array") -> np.ndarray | None:
        """The first environment's picture, `[height, width, 3]` uint8; None where it draws none."""
        require(mode == "rgb_array", "mode", mode, "rgb_array")
        if self._environment.render_mode != mode:
            return None
        with self._failure_named():
            frames = self._environment.render()
        return None if frames is None else np.asarray(frames[0])

    def close(self) -> None:
        try:
            self._environment.close()
        except (EOFError, OSError, KeyboardInterrupt):
            # Ctrl-C reaches workers as well, and closing what has died raises. Gymnasium's destructor would
            # try again, and print a traceback; the workers that are left end with this process.
            self._environment.unwrapped.closed = True

    def _reset(self) -> ts.TimeStep:
        with self._failure_named():
            observation, info = self._environment.reset(seed=self._next_seed)
        self._next_seed = None
        self._ended = np.zeros(self.batch_size, bool)
        nothing = np.zeros(self.batch_size, np.float32)
        return ts.TimeStep(
            step_type=np.full(self.batch_size, ts.StepType.FIRST, np.int32),
            reward=nothing,
            discount=np.ones(self.batch_size, np.float32),
            observation=self._observe(observation, info, nothing.astype(np.int64), nothing),
        )

    def _step(self, action) -> ts.TimeStep:
        first = self._ended
        own_action = to_action(self._environment.single_action_space, action)
        with self._failure_named():
            observation, reward, terminated, truncated, info = self._environment.step(own_action)
            finite = np.isfinite(reward)
            if not finite.all():
                raise InvalidInput(f"the reward must be a finite number, not {reward[~finite][0]}")
        last = (terminated | truncated) & ~first
        reward = np.where(first, 0.0, reward).astype(np.float32)
        self._ended = last
        step_type = np.full(self.batch_size, ts.StepType.MID, np.int32)
        step_type[first] = ts.StepType.FIRST
        step_type[last] = ts.StepType.LAST
        return ts.TimeStep(
            step_type=step_type,
            reward=reward,
            discount=np.where(terminated & last, 0.0, 1.0).astype(np.float32),
            observation=self._observe(observation, info, np.where(first, 0, action), reward),
        )

    @contextlib.contextmanager
    def _failure_named(self) -> Iterator[None]:
        spec = self._environment.spec
        name = f"environment {spec.id!r}" if spec else "the environment"
        try:
            yield
        except (EOFError, ConnectionError) as error:
            raise EnvironmentFailed(f"{name} failed: the process of a worker has ended") from error
        except Exception as error:
            raise EnvironmentFailed(f"{name} failed: {_said(error)}") from error

    def _observe(self, observation, info, previous_action, previous_reward):
        observation = to_observation(self._environment.single_observation_space, observation)
        with self._failure_named():
            require_inside(self._bounded, observation)
            require_finite(self._floats, observation)
        if not self._adds:
            return observation
        parts = {"observation": observation}
        if self._lifts_mask:
            parts["action_mask"] = observation.pop("action_mask")
        if self._mask_from_info:
            parts["action_mask"] = self._mask(info)
        if self._previous_action:
            parts["previous_action"] = previous_action.astype(np.int64)
        if self._previous_reward:
            parts["previous_reward"] = previous_reward
        return parts

    def _mask(self, info) -> np.ndarray:
        """The action masks in a vector environment's infos, `[E, actions]` int8; zeros at ends without."""
        given = np.broadcast_to(info.get("_action_mask", False), [self.batch_size])
        if not np.all(given | self._ended):
            raise InvalidInput(
                "action_mask: the environment gives none, in a part 'action_mask' of its observations or its "
                "infos; set action_mask=false"
            )
        masks = np.zeros([self.batch_size, self._action_spec.maximum + 1], np.int8)
        for i in np.flatnonzero(given):
            _require_mask_shape(np.shape(info["action_mask"][i]), masks.shape[1])
            masks[i] = info["action_mask"][i]
        return masks


def _said(error: Exception) -> str:
    """An error in one line."""
    if isinstance(error, TfmemError):
        return str(error)
    reason = (str(error).strip().splitlines() or ["no message"])[0]
    return f"{type(error).__name__}: {reason}"


def _require_mask_shape(shape, actions: int) -> None:
    require(tuple(shape) == (actions,), "the action mask's shape", tuple(shape), f"({actions},)")


def load(
    env_id: str,
    *,
    num_envs: int = 1,
    env_kwargs: Mapping[str, Any] | None = None,
    previous_action: bool = False,
    previous_reward: bool = False,
    action_mask: bool = False,
    vectorization: Vectorization = "sync",
    seed: int | None = None,
) -> GymnasiumEnvironment:
    """Makes `num_envs` copies of a registered Gymnasium environment as one batched environment.

    Args:
      env_id: an id such as `"CartPole-v1"`, or `"module:EnvId-v0"`, which imports the module first.
      num_envs: how many copies.
      env_kwargs: arguments of the environment itself.
      previous_action: see `GymnasiumEnvironment`.
      previous_reward: see `GymnasiumEnvironment`.
      action_mask: see `GymnasiumEnvironment`.
      vectorization: `"sync"`, one copy after the other; `"async"`, each in a process of its own, which pays
        where a step takes milliseconds; or `"vector_entry_point"`, the environment's own way, where it has
        registered one, and always where it has no other. Players of one game may be made so; then there are
        as many more copies as fill the last game.
      seed: see `GymnasiumEnvironment`.

    Raises:
      InvalidInput: when there is no such environment (names the nearest ids), or it does not fit.

    Example:
      >>> environment = load("popgym-RepeatPreviousEasy-v0", num_envs=16, seed=0)
    """
    require(num_envs >= 1, "num_envs", num_envs, "at least 1")
    _register(env_id)
    try:
        spec = gym.registry.get(env_id.rpartition(":")[2])
        if spec is not None and spec.entry_point is None:
            vectorization = "vector_entry_point"
        vector = gym.make_vec(
            env_id,
            num_envs=num_envs,
            vectorization_mode=vectorization,
            **(env_kwargs or {}),
        )
    except gym.error.UnregisteredEnv as error:
        raise InvalidInput(_unknown(env_id)) from error
    except Exception as error:  # its own constructor's
        raise InvalidInput(f"environment {env_id!r} cannot be made: {_said(error)}") from error
    try:
        return GymnasiumEnvironment(
            vector,
            previous_action=previous_action,
            previous_reward=previous_reward,
            action_mask=action_mask,
            seed=seed,
        )
    except InvalidInput:
        vector.close()
        raise


# Random episodes that `probe` plays, and where it cuts them.
PROBED_EPISODES = 4
LONGEST = 1_024


class Probe(NamedTuple):
    """What a few episodes told of an environment."""

    frames: int  # of the longest of them, the first and the last included, at most 1,024
    lengths_vary: bool  # so that a better policy may play longer ones
    needs_previous_action: bool  # see `GymnasiumEnvironment.needs_previous_action`
    action_grid: tuple[int, ...]  # how many values each component of an action has; () of a single choice
    rewards_dense: bool  # whether more steps are rewarded, or punished, than not
    observation_spec: Any  # nest of TensorSpecs, without the action mask

    @property
    def cut(self) -> bool:
        """Whether the longest was cut, so that it may be longer than `frames`."""
        return self.frames >= LONGEST


def probe(env_id: str, env_kwargs: Mapping[str, Any] | None = None, *, action_mask: bool = False) -> Probe:
    """Plays a few episodes at random.

    Raises:
      InvalidInput: as `load`.
    """
    environment = load(
        env_id, num_envs=PROBED_EPISODES, env_kwargs=env_kwargs, action_mask=action_mask, seed=0
    )
    rng = np.random.default_rng(0)
    running, frames = np.ones(environment.batch_size, bool), np.ones(environment.batch_size, int)
    rewarded = 0
    spec = environment.observation_spec()
    if action_mask:
        spec = {key: part for key, part in spec.items() if key != "action_mask"}
    with contextlib.closing(environment):
        time_step = environment.reset()
        while running.any() and frames.max() < LONGEST:
            lot = rng.random([environment.batch_size, environment.action_spec().maximum + 1])
            if action_mask:
                lot *= time_step.observation["action_mask"]
            time_step = environment.step(lot.argmax(axis=1))
            frames += running
            rewarded += int(np.count_nonzero(time_step.reward[running]))
            running &= ~time_step.is_last()
        return Probe(
            frames=int(frames.max()),
            lengths_vary=bool((frames != frames[0]).any()),
            needs_previous_action=environment.needs_previous_action,
            action_grid=action_grid(environment.action_space),
            rewards_dense=bool(rewarded > (frames - 1).sum() / 2),
            observation_spec=tensor_spec.from_spec(spec),
        )


def _register(env_id: str) -> None:
    """Imports the package that registers `env_id`, where it is known and needed."""
    module, _, plain_id = env_id.rpartition(":")
    extra = None
    if not module and env_id not in gym.registry:
        known = [found for prefix, found in _REGISTERED_BY.items() if plain_id.startswith(prefix)]
        module, extra = known[0] if known else ("", None)
    if not module:
        return
    try:
        importlib.import_module(module)
    except ImportError as error:
        mend = f"pip install 'tfmem[{extra}]'" if extra else f"is {module} installed?"
        raise InvalidInput(f"environment {env_id!r} needs the package {module}: {mend}") from error
    except Exception as error:
        raise InvalidInput(f"environment {env_id!r}: importing {module} fails: {_said(error)}") from error


def _unknown(env_id: str) -> str:
    plain_id = env_id.rpartition(":")[2]
    nearest = difflib.get_close_matches(plain_id, gym.registry, n=3, cutoff=0.5)
    hint = f"nearest: {', '.join(nearest)}" if nearest else "is the package that registers it installed?"
    return f"there is no environment {plain_id!r}; {hint}"
