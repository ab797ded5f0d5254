"""Published returns that curves and tables here stand beside, by environment and observation: env_steps -> return."""

PAPER = "PlaNet (Hafner et al. 2019, table 1)"
CURL = "PlaNet as run by CURL (Laskin et al. 2020, table 1)"
ORACLE = "CEM on the true simulator (Hafner et al. 2019, table 1)"
TDMPC2 = "TD-MPC2, state (Hansen et al. 2024, released results)"
DREAMER = "Dreamer V1 (Hafner et al. 2020, released results)"
DREAMERV3 = "Dreamer V3, state (Hafner et al. 2023, arXiv v2)"

_PIXELS = {
    "cartpole_swingup": (297, 475, 821, 850, 678, 855),
    "reacher_easy": (20, 210, 832, 964, 430, 603),
    "cheetah_run": (138, 305, 662, 656, 630, 713),
    "finger_spin": (136, 561, 700, 825, 339, 515),
    "cup_catch": (0, 460, 930, 993, 962, 967),
    "walker_walk": (224, 351, 951, 994, 886, 956),
}
_STATE = {
    "cartpole_swingup": (839, 876, 876, 852),
    "reacher_easy": (937, 919, 983, 954),
    "cheetah_run": (519, 758, 844, 614),
    "finger_spin": (948, 985, 986, 931),
    "cup_catch": (981, 985, 986, 962),
    "walker_walk": (962, 979, 980, 936),
}
K = 1000


def published(env: str, obs: str) -> dict[str, dict[int, float]]:
    """What was published for an environment.

    Args:
        env: the environment's name.
        obs: pixels or state.

    Returns:
        {source: {env_steps: mean return}}; empty where nothing is known.
    """
    if obs == "pixels" and env in _PIXELS:
        at_100k, at_500k, at_1m, _, dreamer_500k, dreamer_1m = _PIXELS[env]
        return {
            CURL: {100 * K: at_100k, 500 * K: at_500k},
            PAPER: {1000 * K: at_1m},
            DREAMER: {500 * K: dreamer_500k, 1000 * K: dreamer_1m},
        }
    if obs == "state" and env in _STATE:
        at_100k, at_500k, at_1m, dreamerv3 = _STATE[env]
        return {TDMPC2: {100 * K: at_100k, 500 * K: at_500k, 1000 * K: at_1m}, DREAMERV3: {500 * K: dreamerv3}}
    return {}


def oracle(env: str) -> float | None:
    """What CEM reaches with the true simulator as its model, in the paper; None where it is not known."""
    return float(_PIXELS[env][3]) if env in _PIXELS else None
