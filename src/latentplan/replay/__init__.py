"""Replay memories as pure functions over their state, and the episode files that fill them."""
