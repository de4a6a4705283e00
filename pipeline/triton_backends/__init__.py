"""Code that Triton itself runs, in its own process: it imports nothing of the rest."""
