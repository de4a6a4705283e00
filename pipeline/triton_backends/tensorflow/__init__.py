"""The `tensorflow` backend for the embedded Triton: SavedModels, served as NVIDIA's C++ backend served them.

`model` is what Triton runs, `parameters` decides over plain data. Nothing here may import anything but these, what all
backends share, tensorflow, numpy, and what Triton gives.
"""
