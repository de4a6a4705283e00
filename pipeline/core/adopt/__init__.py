"""Adopting: a model repository that somebody else made becomes a spec of finished files, and nothing in it changes.

`entry` turns one model's config and files into its entry of the spec, `document` joins the entries to the text, and
proves that the spec says the same configs. No file is read here. Other rooms import this package, not its parts.
"""

from pipeline.core.adopt.document import Adopted, adopt
from pipeline.core.adopt.entry import Folder

__all__ = ["Adopted", "Folder", "adopt"]
