"""Agents: compositions of a model, losses, a planner and an optimiser."""
