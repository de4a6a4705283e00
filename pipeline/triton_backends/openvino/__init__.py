"""The `openvino` backend for the embedded Triton: OpenVINO's IR, served as NVIDIA's C++ backend serves it.

`model` is what Triton runs, `parameters` decides over plain data. Nothing here may import anything but these, what all
backends share, openvino, numpy, and what Triton gives.
"""
