"""Replay memory as pure functions over its state, and the episode files from which it is filled."""
