"""Planners: pure functions that are given a model's functions and never import one."""
