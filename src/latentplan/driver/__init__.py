"""The training loop and all file output; the impure part of the library."""
