"""The models that the project makes itself: each file here is put into repositories as `model.py`, as it is.

A Triton with a Python backend runs them, of any release, with numpy and what lies beside them. Nothing here may import
anything else.
"""
