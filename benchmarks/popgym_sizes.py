"""POPGym's memory tasks in sizes of one's own, such as `popgym_sizes:RepeatPrevious-v0` with arguments."""

import gymnasium as gym

gym.register("RepeatPrevious-v0", "popgym.envs.repeat_previous:RepeatPrevious")
gym.register("Autoencode-v0", "popgym.envs.autoencode:Autoencode")
