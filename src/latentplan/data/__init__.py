"""Recorded data from elsewhere as episodes: NumPy and HDF5 files, Minari data sets, and the folders of our own runs."""

from latentplan.data.read import Recorded, Split, read_data, split_held_out

__all__ = ["Recorded", "Split", "read_data", "split_held_out"]
