"""A model of the Python backend."""


class TritonPythonModel:
    """What Triton asks for."""
