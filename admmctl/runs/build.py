"""What a run is made of before its rows are read: the same for its driver and for its ranks."""

from dataclasses import dataclass

from admmctl.data import shards
from admmctl.data.catalog import datasets
from admmctl.data.shards import Plan
from admmctl.devices.settings import DeviceSettings
from admmctl.errors import UserError
from admmctl.experiment.checks import indivisible
from admmctl.experiment.config import Run
from admmctl.methods.method import Method, methods, trainer
from admmctl.model.convolution import Stack
from admmctl.model.fourier import Kernel
from admmctl.model.network import Network
from admmctl.model.recurrent import Recurrence
from admmctl.runs import memory


@dataclass(frozen=True)
class Built:
    """Where the rows of every rank lie, the network for them, and the method that trains it."""

    plan: Plan
    network: Network
    method: Method

    def memory(self) -> memory.Estimate:
        """What the rank with the most rows will take."""
        return memory.estimate(self.plan, self.network, self.method)


def check_method(run: Run, ranks: int, remote: bool = False) -> None:
    """Raises UserError where the method's libraries are not here, or where it does not run on so many ranks.

    ``remote``: ranks run on other machines, and look for their devices themselves.
    """
    method = methods.load(run.kind)
    if not remote or getattr(run.settings, "device", "cpu") == "cpu":
        method.require(run.settings)
    if not remote and isinstance(run.settings, DeviceSettings):
        run.settings.check_ranks(ranks)
    if ranks > (method.ranks or ranks):
        raise UserError(f"method {run.method} runs on one rank; use --cores 1")


def build(run: Run, ranks: int) -> Built:
    """The same for the driver and for each of the ``ranks``. Raises UserError for data that does not fit."""
    plan = shards.plan(run.data, ranks)
    classes = len(plan.split.classes)
    if run.stop.metric == "test_auc" and classes != 2:
        raise UserError(f"stop.metric: test_auc is of two classes, and there are {classes}; valid: test_accuracy")
    method = trainer(run.kind, run.settings, run.loss, run.data.stream)
    return Built(plan, build_network(run, plan), method)


def build_network(run: Run, plan: Plan) -> Network:
    """The network for the data at hand: two classes make one output unless ``outputs`` says otherwise."""
    return shape_network(run, plan.source.features, len(plan.split.classes))


def shape_network(run: Run, features: int, classes: int) -> Network:
    """The network for rows of that many features in that many classes. Raises UserError."""
    outputs = run.network.outputs or (1 if classes == 2 else classes)
    if outputs != classes and (outputs, classes) != (1, 2):
        many = "1 output" if outputs == 1 else f"{outputs} outputs"
        raise UserError(f"network.outputs: {many} for {classes} classes; valid: {classes}")
    s, method, layers = run.network, methods.load(run.kind), list(run.network.layers)
    layers = method.hidden_layers(run.settings, layers, outputs)
    kernel = None
    if s.init != "random":
        assert s.init_scale is not None  # the config was checked
        kernel = Kernel(s.init, s.init_scale, s.init_smoothness or Kernel.smoothness)
    activation = s.activation
    if isinstance(activation, list) and layers != s.layers:  # hidden layers of the method's own are alike
        activation = next(iter(activation), "relu")
    more = kernel, _convolution(run, features), _recurrence(run, features)
    return Network.build(features, layers, outputs, activation, s.bias, *more)


def _recurrence(run: Run, features: int) -> Recurrence | None:
    """How rows of that many features enter a recurrent network, if it is one. Raises UserError."""
    units, steps = run.network.recurrent, run.data.steps
    if units is None:
        return None
    assert steps is not None  # the config was checked
    if problem := indivisible(steps, features):
        raise UserError(f"data.steps: {problem}")
    return Recurrence(units, steps, features, run.data.permute, run.network.recurrent_start)


def _convolution(run: Run, features: int) -> Stack | None:
    """The convolutional layers for rows of that many features. Raises UserError."""
    given = run.network.convolution
    if given is None:
        return None
    shape = given.image or datasets.load(run.data.name)().image(run.data)
    assert shape is not None  # the config was checked
    channels, height, width = shape
    if channels * height * width != features:
        raise UserError(
            f"network.convolution.image: images of {channels} x {height} x {width} have "
            f"{channels * height * width:,} numbers, and rows have {features:,} features"
        )
    return given.stack((channels, height, width))
