"""What changes when memory is taken: of a policy for which it is known, and of small ones step by step."""

import numpy as np
import pytest
import tensorflow as tf

from tests.export.policies import SUIT, policy_of
from tfmem.environments import load
from tfmem.inspection import evidence, trace
from tfmem.networks import LSTMConfig, NetworkConfig, NoCoreConfig, ScanNTMConfig

SLOTS, EMPTY, LENGTH = 8, 7.0, 5
LAST_SLOT = np.eye(SLOTS)[SLOTS - 1]


class Notebook:
    """Writes each observation on the next line; reads the first line, and the one that it has just written.

    `Q(a) = 1 − |a − first line|`. Empty lines hold a 7, so that without the first line it takes action 2.
    """

    def initial_state(self, batch_size):
        return {
            "memory": np.full([batch_size, SLOTS, 1], EMPTY),
            "read_weights": np.full([batch_size, 2, SLOTS], 1 / SLOTS),
            "write_weights": np.tile(LAST_SLOT, [batch_size, 1, 1]),
        }

    def explain(self, observation, is_first, state):
        start = self.initial_state(len(is_first))
        fresh = np.asarray(is_first)[:, np.newaxis, np.newaxis]
        state = {name: np.where(fresh, start[name], part) for name, part in state.items()}
        write = np.roll(state["write_weights"], 1, axis=-1)  # [B, 1, N]
        on = write[:, 0, :, np.newaxis]
        memory = (1 - on) * state["memory"] + on * np.reshape(observation, [-1, 1, 1])
        first = np.tile(np.eye(SLOTS)[0], [len(on), 1, 1])
        q_values = 1 - np.abs(np.arange(3) - memory[:, 0])
        after = {
            "memory": memory,
            "read_weights": np.concatenate([first, write], axis=1),
            "write_weights": write,
        }
        return q_values.argmax(-1).astype(np.int32), q_values, after, {}


@pytest.fixture(scope="module")
def notebook():
    """The number that was to be remembered, an episode and its evidence."""
    environment = load("tests/RememberFirst-v0", env_kwargs={"length": LENGTH})
    seed = 0
    while True:  # an episode whose number is not what an empty line would say
        episode = trace(Notebook(), environment, seed=seed, gamma=0.9)
        number = int(episode.observation["observation"][0])
        if number != 2:
            return number, episode, evidence(episode, Notebook(), environment, seed=seed)
        seed += 1


@pytest.mark.parametrize("core", [LSTMConfig(units=4), ScanNTMConfig(slots=4, controller_units=4)])
def test_of_several_environments_it_is_the_first_ones(core):
    """As of the players of one game: `_play` steps all of them."""
    policy = policy_of(SUIT, NetworkConfig(core=core, embedding=8, hidden=8))

    def found(num_envs):
        environment = load("popgym-RepeatPreviousEasy-v0", num_envs=num_envs)
        episode = trace(policy, environment, seed=3, gamma=0.9, max_steps=8)
        return evidence(episode, policy, environment, seed=3)

    one, three = found(1), found(3)
    assert one.keys() == three.keys()
    for name, effect in one.items():
        np.testing.assert_array_equal(effect.action, three[name].action)
        assert effect.total_reward == pytest.approx(three[name].total_reward)


def test_the_slot_that_is_read_most_decides_the_action(notebook):
    number, episode, effects = notebook
    for name in ("most_read", "most_read_by_0"):
        found = effects[name]
        np.testing.assert_array_equal(found.target, [-1, 0, 0, 0, 0])
        np.testing.assert_array_equal(found.action, [number, 2, 2, 2, 2])
        np.testing.assert_array_equal(found.action_changed, [False, True, True, True, True])
        assert found.rate == 1
        np.testing.assert_allclose(found.q_change, [0] + [7 - number] * 4)
        np.testing.assert_allclose(found.chosen_change, [0] + [number - 7] * 4)
        np.testing.assert_allclose(found.regret, [0] + [2 - number] * 4)
        assert found.attended is None
        assert found.total_reward == 1
    assert episode.total_reward == LENGTH


def test_a_read_of_what_the_step_itself_writes_takes_nothing(notebook):
    assert "most_read_by_1" not in notebook[2]


def test_the_slot_that_is_read_least_was_written_and_changes_nothing(notebook):
    effect = notebook[2]["least_read"]
    # Before step 1 only slot 0 is written; later ones are, and are not read.
    assert list(effect.target[:2]) == [-1, 0]
    assert all(0 < slot < t for t, slot in enumerate(effect.target) if t >= 2)
    np.testing.assert_array_equal(effect.action_changed, [False, True, False, False, False])
    assert effect.rate == 1 / 4


def test_taking_everything_leaves_the_initial_memory(notebook):
    number, _, effects = notebook
    # It writes the blank, a 3, into the first line, or where the initial state says: action 2 either way.
    np.testing.assert_array_equal(effects["everything"].action, [number, 2, 2, 2, 2])
    assert effects["everything"].total_reward == 1


CONFIGS = {
    "soft attention and slots": NetworkConfig(core=ScanNTMConfig(slots=6, width=4), attention_window=4),
    "hard attention": NetworkConfig(core=NoCoreConfig(), attention_window=4, attention="reinforce"),
    "lstm": NetworkConfig(core=LSTMConfig(8)),
}


@pytest.fixture(scope="module", params=CONFIGS)
def untrained(request):
    """A policy with random weights, an episode and its evidence."""
    policy = policy_of(SUIT, CONFIGS[request.param], initial_memory=0.3)
    environment = load("tests/RememberFirst-v0", env_kwargs={"length": 70, "ending": "truncated"})
    episode = trace(policy, environment, seed=1, gamma=0.9)
    return policy, environment, episode, evidence(episode, policy, environment, seed=1)


def test_every_step_is_redone_as_if_by_itself(untrained):
    policy, _, episode, effects = untrained
    for name, effect in effects.items():
        for t in (1, 2, 69):
            state = {key: np.array(part[[t - 1]]) for key, part in episode.state.items()}
            if name == "everything":
                state = policy.initial_state(1)
            elif "attended" in name:
                state["past_valid"][0, effect.target[t]] = 0
            elif effect.target[t] >= 0:
                state["memory"][0, effect.target[t]] = 0.3
            state = {key: tf.constant(part) for key, part in state.items()}
            _, q_values, _ = policy.step(episode.observation["observation"][[t]], [False], state)
            change = q_values[0].numpy() - episode.q_values[t]
            np.testing.assert_allclose(effect.q_change[t], np.abs(change).max(), atol=1e-5)
            np.testing.assert_allclose(effect.chosen_change[t], change[episode.action[t]], atol=1e-5)


def test_without_memory_it_plays_as_with_memory_ablated(untrained):
    policy, environment, _, effects = untrained
    ablated = trace(policy, environment, seed=1, gamma=0.9, ablate_memory=True)
    assert effects["everything"].total_reward == ablated.total_reward
    np.testing.assert_array_equal(effects["everything"].action, ablated.action)


def test_which_perturbations_there_are_follows_from_the_memory(untrained):
    _, _, episode, effects = untrained
    by_head = {name for name in effects if name.startswith("most_read_by_")}
    assert bool(by_head) == ("memory" in episode.state)
    assert by_head <= {f"most_read_by_{head}" for head in range(7)}
    expected = {"everything"}
    expected |= {"most_read", "least_read"} if "memory" in episode.state else set()
    expected |= {"most_attended", "least_attended"} if "attention" in episode.state else set()
    assert set(effects) - by_head == expected


def test_attention_goes_elsewhere_when_its_place_is_masked(untrained):
    _, _, episode, effects = untrained
    if "attention" not in episode.state:
        assert all(effect.attended is None for effect in effects.values())
        return
    most, least = effects["most_attended"], effects["least_attended"]
    past = episode.state["attention"][3:, :-1]
    np.testing.assert_array_equal(most.target[3:], past.argmax(axis=1))
    np.testing.assert_array_equal(past[np.arange(67), least.target[3:]], past.min(axis=1))
    assert list(most.target[:2]) == [-1, 2]  # at step 1 there is one past input, the youngest
    assert (most.attended != most.target).all()


def test_without_play_there_is_no_return(untrained):
    policy, environment, episode, effects = untrained
    alone = evidence(episode, policy, environment, seed=1, play=False)
    for name, effect in effects.items():
        assert alone[name].total_reward is None
        np.testing.assert_array_equal(alone[name].q_change, effect.q_change)


def test_a_policy_without_memory_has_nothing_to_take():
    policy = policy_of(SUIT, NetworkConfig(core=NoCoreConfig()))
    environment = load("tests/RememberFirst-v0")
    assert evidence(trace(policy, environment, seed=0, gamma=0.9), policy, environment, seed=0) == {}
