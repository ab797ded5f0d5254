"""Recorded data from elsewhere as episodes: NumPy and HDF5 files, Minari data sets, and the folders of our own runs."""

from latentplan.data.read import RawData, Recorded, Split, fit_data, read_data, read_raw, split_held_out

__all__ = ["RawData", "Recorded", "Split", "fit_data", "read_data", "read_raw", "split_held_out"]
