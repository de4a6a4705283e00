"""A model's tensors, as they are written: types, shapes, axes, tolerances."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from pipeline.core.spec.base import AXIS_NAME, Dtype, Node


class Axis(Node, frozen=True, kw_only=True):
    """The bounds of a named axis: the sizes that the model must take, both ends included."""

    min: Annotated[int, Meta(ge=1, le=2**31 - 1, description="The smallest size.")] = 1
    max: Annotated[int, Meta(ge=1, le=2**31 - 1, description="The largest size.", examples=[512])]


class Tolerance(Node, frozen=True, kw_only=True):
    """A value passes when |got - expected| <= atol + rtol * |expected|."""

    rtol: Annotated[float, Meta(ge=0, le=1, description="Relative tolerance.")] = 1e-4
    atol: Annotated[float, Meta(ge=0, description="Absolute tolerance.")] = 1e-5


Size = Annotated[int, Meta(ge=1, le=2**31 - 1)] | Annotated[str, Meta(pattern=AXIS_NAME)]
Shape = tuple[Size, ...]


class Values(Node, frozen=True, kw_only=True):
    """The range that random golden inputs are drawn from: low included, high not."""

    low: Annotated[float, Meta(description="The lowest value.")] = 0.0
    high: Annotated[float, Meta(description="The bound above.", examples=[30522])]


class Input(Node, frozen=True, kw_only=True):
    """A tensor that clients send."""

    dtype: Annotated[Dtype, Meta(description="Triton's data type, without TYPE_.", examples=["INT32"])]
    shape: Annotated[
        Shape,
        Meta(
            max_length=32,
            description="The whole shape, sizes and named axes. `batch` comes first where max_batch_size is above 0.",
            examples=[["batch", 256]],
        ),
    ]
    argument: Annotated[
        str | None,
        Meta(
            description="The argument of the model's forward(); without it the inputs are passed in order.",
            examples=["input_ids"],
        ),
    ] = None
    values: Annotated[
        Values | None,
        Meta(
            description="The range of random golden inputs; by default 0 to 100, or a normal deviate.",
            examples=[{"high": 30522}],
        ),
    ] = None
    config: Annotated[
        dict[str, Any],
        Meta(
            description="Any further field of Triton's ModelInput, by its protobuf name.",
            examples=[{"allow_ragged_batch": True}],
        ),
    ] = {}


class Output(Node, frozen=True, kw_only=True):
    """A tensor that clients get."""

    dtype: Annotated[Dtype, Meta(description="Triton's data type, without TYPE_.", examples=["FP32"])]
    shape: Annotated[
        Shape, Meta(max_length=32, description="The whole shape, sizes and named axes.", examples=[["batch", 2]])
    ]
    result: Annotated[
        str | int | None,
        Meta(
            description="The field (or the position) of what forward() returns; by default the output's own "
            "position. Of `tokenizer`: input_ids, attention_mask or token_type_ids, of `labels`: label or score; by "
            "default what the output is called.",
            examples=["logits"],
        ),
    ] = None
    pool: Annotated[
        Literal["mean", "cls", "max"] | None,
        Meta(
            description="Pool the token axis away, honouring the input whose argument is attention_mask.",
            examples=["mean"],
        ),
    ] = None
    normalize: Annotated[bool, Meta(description="Divide each row by its L2 norm.")] = False
    tolerance: Annotated[
        Tolerance | None,
        Meta(
            description="This output's own tolerance, in place of the golden's.",
            examples=[{"rtol": 1e-3, "atol": 1e-4}],
        ),
    ] = None
    finite: Annotated[bool, Meta(description="False allows NaN and infinity in this output.")] = True
    config: Annotated[
        dict[str, Any],
        Meta(
            description="Any further field of Triton's ModelOutput, by its protobuf name.",
            examples=[{"label_filename": "labels.txt"}],
        ),
    ] = {}
