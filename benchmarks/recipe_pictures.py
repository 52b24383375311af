"""Pictures of the recipes: what goes on, and what of it the policy is shown.

    python benchmarks/recipe_pictures.py

writes docs/images/recipes/<recipe>.png. Needs every recipe's extra, and MuJoCo's headless drawing by EGL.
TensorFlow is not imported: MuJoCo draws beside it on no machine that has no screen.
"""

import os

os.environ.setdefault("MUJOCO_GL", "egl")

from pathlib import Path
from typing import Any

import gymnasium as gym
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap

import tfmem.recipes  # noqa: F401  registers them
from tfmem.recipes import strategy

FOLDER = Path(__file__).parent.parent.resolve() / "docs" / "images" / "recipes"
SEED = 6


def panels(count: int, titles: list[str], width: float = 2.3):
    figure, axes = plt.subplots(1, count, figsize=(width * count, width + 0.35), squeeze=False)
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title, fontsize=9)
        ax.set_xticks([])
        ax.set_yticks([])
    return figure, list(axes[0])


def save(figure, name: str) -> None:
    figure.tight_layout()
    figure.savefig(FOLDER / f"{name}.png", dpi=90)
    plt.close(figure)


def one_colour_a_channel(planes: np.ndarray) -> np.ndarray:
    """`[H, W, C]` of 0 and 1 as numbers `[H, W]`: 0, or 1 + the channel."""
    return np.where(planes.any(axis=-1), 1 + planes.argmax(axis=-1), 0)


def games_in_frames(name: str, actions, colours=None) -> None:
    """The game, and the five frames that are shown next."""
    env = gym.make(f"recipes/{name}", render_mode="rgb_array")
    env.reset(seed=SEED)
    for action in actions:
        env.step(action)
    figure, axes = panels(6, ["the game", *(f"shown {i} later" for i in range(1, 6))], 1.8)
    axes[0].imshow(env.render(), aspect="auto" if name == "pong" else None)
    for ax in axes[1:]:
        frame = env.step(actions[-1])[0]
        if frame.shape[-1] == 1:
            ax.imshow(frame[..., 0], cmap="gray", vmin=0, vmax=255)
        else:
            ax.imshow(one_colour_a_channel(frame), cmap=colours, vmin=0, vmax=frame.shape[-1])
    save(figure, name)


def memory_s7() -> None:
    env = gym.make("recipes/memory-s7", render_mode="rgb_array")
    shown, _ = env.reset(seed=SEED)
    titles = ["the room", "shown at first", "shown after turning twice", "… and two steps on"]
    figure, axes = panels(4, titles)
    axes[0].imshow(env.render())
    left, forward = 0, 2
    views = [shown]
    for actions in ((left, left), (forward, forward)):
        for action in actions:
            shown, *_ = env.step(action)
        views.append(shown)
    for ax, view in zip(axes[1:], views, strict=True):
        # The first eleven codes tell what is in a cell; seen from above, the agent at the bottom.
        ax.imshow(view["view"][..., :11].argmax(axis=-1).T, cmap="tab20", vmin=0, vmax=10)
    save(figure, "memory-s7")


def connect_four() -> None:
    env = gym.make("recipes/connect-four", render_mode="rgb_array")
    _, info = env.reset(seed=SEED)
    chance = np.random.default_rng(SEED)
    replies = []
    for _ in range(6):
        action = chance.choice(np.flatnonzero(info["action_mask"]))
        reply, _, ended, _, info = env.step(action)
        replies.append((int(action), int(reply)))
        assert not ended
    figure, (board, told) = panels(2, ["the board", "shown: the opponent's last column"])
    board.imshow(env.render())
    told.imshow(np.eye(7)[[reply for _, reply in replies]], cmap="Oranges", aspect="auto", vmax=1.5)
    told.set_ylabel("step")
    save(figure, "connect-four")


def reach() -> None:
    import gymnasium_robotics

    gym.register_envs(gymnasium_robotics)
    env = gym.make("FetchReachDense-v4", render_mode="rgb_array")
    env.reset(seed=SEED)
    picture = env.render()
    env = gym.make("recipes/reach")
    shown, _ = env.reset(seed=SEED)
    goals = [shown["goal"]]
    for _ in range(9):
        shown, *_ = env.step(1)
        goals.append(shown["goal"])
    figure, (arm, told) = panels(2, ["the arm, and the goal in red", "shown of the goal: x, y, z"])
    arm.imshow(picture)
    told.imshow(np.array(goals), cmap="coolwarm", vmin=-1, vmax=1, aspect="auto")
    told.set_ylabel("step")
    save(figure, "reach")


def battery() -> None:
    # Held-out weeks are as published; those of training are mixed.
    env = gym.make("recipes/battery", weeks="held_out")
    shown, _ = env.reset(seed=SEED)
    simulation = env.unwrapped.simulation
    hours = slice(simulation.start_index, simulation.start_index + 96)
    rows = [shown]
    for _ in range(95):
        shown, *_ = env.step(2)
        rows.append(shown)
    figure, (goes_on, told) = panels(2, ["four days, in cents and kWh", "shown of the prices"], 3.6)
    goes_on.plot(simulation.electricity_price[hours], label="price")
    goes_on.plot(simulation.electricity_load_profile[hours], label="load")
    goes_on.plot(simulation.solar_generation_profile[hours], label="sun")
    goes_on.set_xticks(range(0, 97, 24))
    goes_on.set_yticks(range(0, 401, 100))
    goes_on.legend(fontsize=7, ncol=3, loc="upper center")
    told.imshow(np.array([row["prices"] for row in rows]).T, cmap="viridis", aspect="auto")
    told.set_xticks(range(0, 97, 24))
    told.set_ylabel("of the day's 24 hours")
    for ax in (goes_on, told):
        ax.set_xlabel("hour")
    save(figure, "battery")


def boredom() -> None:
    env = gym.make("recipes/boredom")
    env.reset(seed=SEED)
    chance, shown = np.random.default_rng(SEED), []
    for _ in range(25):
        topic = chance.integers(10)
        observation, *_ = env.step(topic)
        shown.append([topic, observation["clicked"]])
    topics, clicks = np.array(shown).T
    figure, (tastes, told) = panels(2, ["a user's tastes, hidden", "shown: topics, clicked ones full"], 3.0)
    tastes.bar(range(10), np.ravel(env.unwrapped.user_embedd))
    tastes.set_xlabel("topic")
    steps = np.arange(len(topics))
    told.scatter(steps, topics, facecolors=np.where(clicks, "C0", "none"), edgecolors="C0", s=22)
    told.set_xlabel("step")
    told.set_ylabel("topic")
    save(figure, "boredom")


def microrts() -> None:
    env = gym.make("recipes/microrts")
    chance = np.random.default_rng(SEED)
    shown, info = env.reset(seed=SEED)
    for _ in range(90):
        allowed = np.flatnonzero(info["action_mask"])
        shown, _, ended, _, info = env.step(chance.choice(allowed[1:]))
        assert not ended
    game = env.unwrapped
    everything = np.array(game._game.gs.getMatrixObservation(0))

    def drawn(owner, kind):
        """0 nothing, 1 resources; then ours, base and others, and the enemy's."""
        of_players = np.where(kind == 2, 2, 3) + 2 * (owner == 2)
        return np.where(kind == 0, 0, np.where(owner == 0, 1, of_players))

    figure, (field, seen, around) = panels(3, ["the map", "in the player's sight", "shown: around one unit"])
    colours = ListedColormap(["white", "gold", "navy", "cornflowerblue", "darkred", "salmon", "lightgrey"])
    kinds: Any = {"cmap": colours, "vmin": 0, "vmax": 6}
    field.imshow(drawn(everything[2], everything[3]), **kinds)
    starts = [*strategy.CODE_STARTS, strategy.PLANES]

    def codes(planes, part):
        return planes[..., starts[part] : starts[part + 1]].argmax(axis=-1)

    def with_fog(planes):
        hidden = codes(planes, 5) == 0
        return np.where(hidden, 6, drawn(codes(planes, 2), codes(planes, 3)))

    margin = strategy.AROUND
    seen.imshow(with_fog(game._view()[margin:-margin, margin:-margin]), **kinds)
    around.imshow(with_fog(shown["around"]), **kinds)
    save(figure, "microrts")


def foraging() -> None:
    env = gym.make("recipes/foraging")
    env.reset(seed=SEED)
    game = env.unwrapped
    figure, (field, first, second) = panels(3, ["the board", "shown to player 1", "shown to player 2"])

    def draw(ax, food, players):
        for (row, column), text, colour in [
            *((place, food[tuple(place)], "tab:green") for place in np.argwhere(food)),
            *(((row, column), level, "tab:blue") for row, column, level in players),
        ]:
            box = {"facecolor": colour, "linewidth": 0}
            ax.text(column, row, str(text), ha="center", va="center", color="white", bbox=box)
        rows, columns = food.shape
        ax.set_xlim(-0.5, columns - 0.5)
        ax.set_ylim(rows - 0.5, -0.5)
        ax.set_xticks(np.arange(columns) - 0.5, [])
        ax.set_yticks(np.arange(rows) - 0.5, [])
        ax.grid(lw=0.5)
        ax.set_aspect("equal")

    players = [(*player.position, player.level) for player in game.players]
    draw(field, game.field, players)
    for ax, (row, column, _) in zip((first, second), players, strict=True):
        padded = np.pad(game.field, 2)
        near = [
            (r - row + 2, c - column + 2, level)
            for r, c, level in players
            if max(abs(r - row), abs(c - column)) <= 2
        ]
        draw(ax, padded[row : row + 5, column : column + 5], near)
    save(figure, "foraging")


def dark_room() -> None:
    env = gym.make("recipes/dark-room-9")
    shown, _ = env.reset(seed=SEED)
    chance = np.random.default_rng(SEED)
    path, goal = [shown["position"]], env.unwrapped.goal_pos
    for _ in range(12):
        shown, *_ = env.step(chance.integers(env.action_space.n))
        path.append(shown["position"])
    figure, (room, told) = panels(2, ["the room: a way, and the goal, hidden", "shown: row and column"])
    for ax in (room, told):
        ax.set_xlim(-0.5, 8.5)
        ax.set_ylim(8.5, -0.5)
        ax.set_xticks(np.arange(9) - 0.5, [])
        ax.set_yticks(np.arange(9) - 0.5, [])
        ax.grid(lw=0.5)
        ax.set_aspect("equal")
    rows, columns = np.array(path).T
    room.plot(columns, rows, color="tab:blue")
    room.scatter(goal[1], goal[0], marker="*", s=150, color="tab:orange")
    told.scatter(columns[-1], rows[-1], color="tab:blue")
    save(figure, "dark-room")


def main() -> None:
    matplotlib.use("Agg")
    FOLDER.mkdir(parents=True, exist_ok=True)
    up_and_down = [0] * 3
    games_in_frames("breakout", up_and_down, ListedColormap(["black", "tab:green", "white", "tab:red"]))
    games_in_frames("pong", [0] * 40)
    for picture in (memory_s7, connect_four, reach, battery, boredom, microrts, foraging, dark_room):
        picture()


if __name__ == "__main__":
    main()
