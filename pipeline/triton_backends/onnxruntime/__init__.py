"""The `onnxruntime` backend for the embedded Triton: ONNX models, served as NVIDIA's C++ backend serves them.

`model` is what Triton runs, `parameters` decides over plain data. Nothing here may import anything but these, what all
backends share, onnxruntime, numpy, and what Triton gives.
"""
