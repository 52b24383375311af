"""Topics for SARDINE's users: what is recommended, shown and paid, and that boredom is theirs."""

import numpy as np
import pytest

from tfmem.recipes.recommendation import boredom

pytest.importorskip("sardine")


@pytest.fixture
def environment():
    return boredom()


def test_a_topic_is_one_of_its_items_and_shown_by_its_embedding(environment):
    simulator = environment.unwrapped
    environment.reset(seed=0)
    for topic in range(10):
        shown = set()
        for _ in range(10):
            observation, _, _, _, info = environment.step(topic)
            (item,) = info["slate"]
            assert simulator.item_comp[item] == topic == observation["item"].argmax()
            np.testing.assert_allclose(observation["item"], simulator.item_embedd[item], rtol=1e-6)
            shown.add(item)
        assert len(shown) > 5


def test_every_item_can_be_recommended(environment):
    np.testing.assert_array_equal(np.sort(np.concatenate(environment._items)), np.arange(1_000))


def test_shows_the_click_that_pays_and_no_history(environment):
    observation, _ = environment.reset(seed=0)
    rewards, clicks = [], []
    for t in range(100):
        assert observation in environment.observation_space
        assert set(observation) == {"item", "clicked"}
        observation, reward, terminated, truncated, _ = environment.step(t % 10)
        assert (terminated, truncated) == (t == 99, False)
        rewards.append(reward)
        clicks.append(observation["clicked"])
    assert rewards == clicks
    assert 0 < sum(rewards) < 100


def test_a_user_who_is_bored_of_a_topic_clicks_on_nothing(environment):
    environment.reset(seed=0)
    bored, rewards = [], []
    for _ in range(5):
        for topic in np.repeat(range(10), 10):
            bored.append(environment.unwrapped.bored.any())
            rewards.append(environment.step(topic)[1])
        environment.reset()
    assert any(bored)
    assert not any(reward for reward, was in zip(rewards, bored, strict=True) if was)


def test_a_seed_gives_the_same_user_and_items(environment):
    def played(seed):
        first, _ = environment.reset(seed=seed)
        return [first["item"]] + [environment.step(3)[0]["item"] for _ in range(20)]

    np.testing.assert_array_equal(played(1), played(1))
    assert not np.array_equal(played(1), played(2))
