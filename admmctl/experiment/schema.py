"""The blocks of an experiment file: their keys, types, bounds and defaults."""

from typing import Any, Literal

from pydantic import Field, model_validator

from admmctl.model.convolution import Stack
from admmctl.settings import Count, Fraction, NonNegative, Positive, Settings

# Names of experiments and methods become folders.
NAME, MAX_NAME = "[A-Za-z0-9][A-Za-z0-9._-]*", 100
NAME_IN_WORDS = f"letters, digits, '.', '_' and '-', starting with a letter or digit, at most {MAX_NAME} of them"


class ConvolutionSettings(Settings):
    """The ``convolution:`` block of a network: convolutional layers below the dense ones."""

    filters: list[Count] = Field(min_length=1, description="how many, for every layer from the inputs on")
    size: Count | Literal["full"] = Field(
        default=5, description="side of a filter in pixels, or that of the image"
    )
    stride: Count = Field(default=1, description="pixels from one place of a filter to the next, in every layer")
    padding: Literal["circular", "zeros"] = Field(
        default="circular", description="what filters see beyond the edges: the opposite edge; or zeros"
    )
    pool: Count = Field(default=1, description="side of the squares that are averaged above the last of them")
    image: list[Count] | None = Field(
        default=None, min_length=3, max_length=3, description="channels, height, width, where the data do not say"
    )

    def usual(self) -> dict[str, Any]:
        return super().usual() | {"stride": 1, "padding": "circular"}

    def stack(self, image: tuple[int, int, int]) -> Stack:
        """The layers on images of that shape, whether they fit or not."""
        size = image[1:] if self.size == "full" else (self.size, self.size)
        return Stack(image, tuple(self.filters), size, self.pool, self.stride, self.padding == "zeros")

    def wrong(self, image: tuple[int, int, int]) -> list[tuple[str, str]]:
        """What does not fit images of that shape: (key, message) each."""
        stack, problems = self.stack(image), []
        if self.image is not None and tuple(self.image) != image:
            those = f"the {_images(image)} of the data"
            problems.append(("image", f"expected {list(image)}, {those}, got {self.image}"))
        for number, layer in enumerate(stack.layers):
            (h, w), those = layer.size, _images(layer.image, "maps" if number else "images")
            if h > layer.image[1] or w > layer.image[2]:
                problems.append(("size", f"a filter of {h} x {w} is larger than the {those}"))
                break
            if not layer.fits:
                message = f"{self.stride} goes around the {those} in no whole number of steps"
                problems.append(("stride", f"{message}; valid: {_divisors(layer.image)}, or padding: zeros"))
                return problems
        if any(side % self.pool for side in stack.top[1:]):
            those = _images(stack.top, "maps") if stack.top[1:] != image[1:] else _images(image)
            problems.append(
                ("pool", f"the {those} are not whole squares of {self.pool}; valid: {_divisors(stack.top)}")
            )
        return problems


def _images(shape: tuple[int, int, int], what: str = "images") -> str:
    return f"{what} of {' x '.join(map(str, shape))}"


def _divisors(shape: tuple[int, int, int]) -> str:
    """Of height and width both."""
    _, height, width = shape
    return ", ".join(str(p) for p in range(1, min(height, width) + 1) if height % p == width % p == 0)


class NetworkSettings(Settings):
    """The ``network:`` block."""

    layers: list[Count] = Field(description="hidden sizes, from the inputs to the outputs; none if recurrent")
    activation: str | list[str] = Field(default="relu", description="of all hidden layers, or one for each")
    bias: bool = True
    outputs: Count | None = Field(default=None, description="1 for two classes, else one per class")
    init: Literal["random", "gaussian", "laplacian", "matern"] = Field(
        default="random", description="where the first hidden layer starts: a kernel makes random features of it"
    )
    init_scale: Positive | None = Field(default=None, description="the kernel's length scale")
    init_smoothness: Positive | None = Field(default=None, description="nu of a Matern kernel, 3/2 unless given")
    convolution: ConvolutionSettings | None = Field(default=None, description="layers below the dense ones")
    recurrent: Count | None = Field(
        default=None, description="units of an Elman cell that reads a row in data.steps parts"
    )
    recurrent_start: NonNegative = Field(
        default=0.9, description="its recurrent weights start at so many times the identity"
    )

    @model_validator(mode="before")
    @classmethod
    def _no_layers(cls, given: Any) -> Any:
        """A recurrent network has its own."""
        if isinstance(given, dict) and given.get("recurrent") is not None and given.get("layers") is None:
            return {**given, "layers": []}
        return given

    @model_validator(mode="before")
    @classmethod
    def _smooth(cls, given: Any) -> Any:
        """A default of matern alone: other kernels have no smoothness."""
        if isinstance(given, dict) and given.get("init") == "matern" and given.get("init_smoothness") is None:
            return {**given, "init_smoothness": 1.5}
        return given

    def plain(self) -> dict[str, Any]:
        """With no kernel and no convolution where there is none: such runs keep the hash they always had."""
        plain = super().plain()
        if self.init == "random":
            del plain["init"]
        if self.convolution is None:
            del plain["convolution"]
        else:
            plain["convolution"] = self.convolution.plain()
            if self.convolution.image is None:
                del plain["convolution"]["image"]
        for key in ("recurrent", "recurrent_start") if self.recurrent is None else ("layers",):
            del plain[key]
        return plain

    @property
    def matrices(self) -> int:
        """How many weight matrices it has: one for all steps of a recurrent network."""
        if self.recurrent is not None:
            return 2
        return (len(self.convolution.filters) if self.convolution else 0) + len(self.layers) + 1


class Stop(Settings):
    """The ``stop:`` block: whichever comes first."""

    metric: Literal["test_accuracy", "test_auc", "train_accuracy", "train_loss", "validation_accuracy"] = (
        "test_accuracy"
    )
    target: float | None = None
    iterations: int | None = Field(default=None, ge=0)
    epochs: Positive | None = None
    seconds: Positive | None = Field(default=None, description="of train_s")
    patience: Count | None = Field(
        default=None, description="evaluations without a better validation accuracy; needs data.validation"
    )


class Evaluate(Settings):
    """The ``evaluate:`` block: how often. The default is every iteration for full-batch methods."""

    every: int | float = Field(default=1, gt=0, le=10**12)  # a part of an epoch, too
    unit: Literal["iteration", "epoch"] = "iteration"

    @model_validator(mode="after")
    def _whole(self) -> "Evaluate":
        if self.unit == "iteration" and self.every != int(self.every):
            raise ValueError(f"expected every: a whole number of iterations, got {self.every}")
        return self


class CheckpointSettings(Settings):
    """The ``checkpoint:`` block: how often, besides when a run is asked to stop."""

    every: NonNegative | None = Field(
        default=None, description="by default every 300 s, and seldom enough to cost 2 % of the time; 0: never"
    )
    unit: Literal["iteration", "seconds"] = "seconds"

    @model_validator(mode="after")
    def _whole(self) -> "CheckpointSettings":
        if self.unit == "iteration" and (self.every is None or self.every != int(self.every)):
            raise ValueError(f"expected every: a whole number of iterations, got {self.every}")
        return self


class MethodBlock(Settings):
    """What any method block may say besides the method's own settings."""

    kind: str
    preset: str | None = None
    network: dict[str, Any] | None = None
    loss: str | None = None
    stop: dict[str, Any] | None = None
    evaluate: dict[str, Any] | None = None
    threads: Count | Literal["auto"] | None = None
    bias: bool | None = Field(default=None, description="short for network: {bias: ...}")


class Range(Settings):
    """Values between two ends: drawn evenly, or evenly in the logarithm."""

    low: float
    high: float
    scale: Literal["log", "linear"] = "log"
    points: Count | None = Field(default=None, description="how many for a grid: 4 unless given")
    integer: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> "Range":
        if not self.low < self.high:
            raise ValueError(f"expected low below high, got {self.low:g} and {self.high:g}")
        if self.scale == "log" and self.low <= 0:
            raise ValueError(f"expected low above 0 for a logarithmic range, got {self.low:g}")
        return self


class SweepSettings(Settings):
    """The ``sweep:`` block: for each method, the keys to vary and their values."""

    search: Literal["quasi-random", "grid"] = "quasi-random"
    by: Literal["accuracy", "time"] = Field(
        default="accuracy",
        description="what chooses, on held-back rows: accuracy, or time to the target",
    )
    trials: Count = 12
    seed: int = Field(default=0, ge=0)
    space: dict[str, dict[str, list[Any] | Range]] = Field(min_length=1)


class File(Settings):
    """The top level of an experiment file."""

    name: str = Field(pattern=f"^{NAME}$", max_length=MAX_NAME)
    data: dict[str, Any]
    network: NetworkSettings
    loss: str
    methods: dict[str, dict[str, Any] | None] = Field(min_length=1)
    stop: Stop = Stop(iterations=100)
    evaluate: Evaluate = Evaluate()
    checkpoint: CheckpointSettings = CheckpointSettings()
    seed: int = Field(default=0, ge=0)
    threads: Count | Literal["auto"] | None = None
    validation: Fraction | None = Field(default=None, description="short for data: {validation: ...}")
    sweep: SweepSettings | None = None
