"""Declarative builds and serving for NVIDIA Triton Inference Server, from one `pipeline.yaml`."""

__version__ = "0.1.0"
