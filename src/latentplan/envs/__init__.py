"""Environments: suites by name, wrappers, worker processes, rendering."""
