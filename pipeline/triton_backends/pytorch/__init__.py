"""The `pytorch` backend for the embedded Triton: TorchScript models, served as NVIDIA's C++ backend serves them.

`model` is what Triton runs, `rules` and `parameters` decide over plain data and import neither torch nor Triton.
Nothing here may import anything but these, torch, and what Triton gives.
"""
