"""The only impure package: environments, replay, the loop, and everything that writes files."""
