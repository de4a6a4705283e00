"""The spec: what the user declared, as frozen data.

Two layers, each fact in one place. `Document` is `pipeline.yaml` as it is written, and the JSON Schema that editors
use is generated from it. `Spec` is what the rest of the program reads: version overrides merged, names resolved.
Parsing lives in `parse`; nothing here reads text or decides anything. Other rooms import this package, not its parts.
"""

from pipeline.core.spec.base import (
    AXIS_NAME,
    BATCH,
    CALLABLE,
    MODEL_NAME,
    SHA256,
    TENSOR_NAME,
    VERSION,
    Dtype,
    Node,
    Port,
    Seconds,
    Sha256,
    Size,
)
from pipeline.core.spec.document import Document, Export, Golden, Method, ModelEntry, Override, Precision, VersionPolicy
from pipeline.core.spec.resolved import Model, Spec, Version, batches, judged, kind, kinds, served_versions
from pipeline.core.spec.source import (
    ConfigSource,
    FactorySource,
    FileSource,
    HubSource,
    PathSource,
    Source,
    WheelSource,
)
from pipeline.core.spec.target import Container, Ports, Target, Ulimits
from pipeline.core.spec.tensor import Axis, Input, Output, Shape, Tolerance, Values

__all__ = [
    "AXIS_NAME",
    "BATCH",
    "CALLABLE",
    "MODEL_NAME",
    "SHA256",
    "TENSOR_NAME",
    "VERSION",
    "Axis",
    "ConfigSource",
    "Container",
    "Document",
    "Dtype",
    "Export",
    "FactorySource",
    "FileSource",
    "Golden",
    "HubSource",
    "Input",
    "Method",
    "Model",
    "ModelEntry",
    "Node",
    "Output",
    "Override",
    "PathSource",
    "Port",
    "Ports",
    "Precision",
    "Seconds",
    "Sha256",
    "Shape",
    "Size",
    "Source",
    "Spec",
    "Target",
    "Tolerance",
    "Ulimits",
    "Values",
    "Version",
    "VersionPolicy",
    "WheelSource",
    "batches",
    "judged",
    "kind",
    "kinds",
    "served_versions",
]
