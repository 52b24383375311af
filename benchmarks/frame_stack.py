"""Any environment with its last 4 observations in one: `frame_stack:FrameStack-v0`."""

import gymnasium as gym

FRAMES = 4


def make(env_id: str, **arguments) -> gym.Env:
    if env_id.startswith("popgym-"):
        import popgym  # noqa: F401  registers it
    return gym.wrappers.FrameStackObservation(gym.make(env_id, **arguments), FRAMES, padding_type="zero")


gym.register("FrameStack-v0", "frame_stack:make")
