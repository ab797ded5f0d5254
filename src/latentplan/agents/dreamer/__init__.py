"""Dreamer V1, V2 and V3: an actor and a critic trained in imagination."""
