"""What differs between layers, and the only place that chooses: dense, low-rank or convolutional.

Layer l has the least squares of W_l, whose sums over samples are a ``Sums``, and activations a_l, kept by a
``Hidden`` that depends on the layer above.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from admmctl.devices.settings import DeviceSettings
from admmctl.methods.convolution import FilterPair, check_zeros, filter_cost
from admmctl.methods.division import solve_work
from admmctl.methods.gains import gain_bytes, gains_share
from admmctl.methods.layer_sums import solve_share
from admmctl.methods.least_squares import GramPair, Sums, check_sides, solve_bytes
from admmctl.methods.method import Array, Message, Problem, Timer
from admmctl.methods.taylor.convolution import Averaged, Filtered
from admmctl.methods.taylor.hidden import Hidden, Shape, Stored, below_dense
from admmctl.methods.taylor.low_rank import Draw, NystromPair, PrintedPair
from admmctl.methods.taylor.preconditioned import PreconditionedPair
from admmctl.methods.taylor.settings import LowRankSettings
from admmctl.methods.taylor.wide import WIDE, WidePair, wide_share
from admmctl.model.convolution import Filters
from admmctl.model.network import Network
from admmctl.model.pooling import Pooled

_LOW_RANK: dict[str, Callable[..., Sums]] = {
    "nystrom": NystromPair,
    "nystrom-printed": PrintedPair,
    "nystrom-pcg": PreconditionedPair,
}


def sums(settings: LowRankSettings, p: Problem, l: int) -> Sums:
    """What the update of W_l sums over samples, and over layers that share it."""
    network, dtype = p.network, p.a0.dtype.type
    operator, (outputs, inputs) = network.operators[l - 1], network.shapes[l - 1]
    if isinstance(operator, Filters):
        return FilterPair(operator, network.bias, dtype)
    if _together(settings, network, l, p.comm.size):
        return WidePair(outputs, inputs, dtype, p.comm, p.clock)
    return dense_sums(settings, outputs, inputs, p, l)


def dense_sums(settings: LowRankSettings, outputs: int, inputs: int, p: Problem, l: int) -> Sums:
    """Those of a dense layer l; for layer 1, whose inputs never change, columns are drawn once."""
    dtype, seed = p.a0.dtype.type, p.seed
    if not settings.low_rank(inputs):
        return GramPair(outputs, inputs, dtype, p.y)
    draw = Draw(inputs, settings.columns_of(inputs), settings.columns == "leverage" and l > 1, seed, l)
    return _LOW_RANK[settings.w_update](outputs, inputs, dtype, settings, draw)


def _together(settings: LowRankSettings, network: Network, l: int, ranks: int) -> bool:
    """Whether so many ranks solve layer l together, without a factor. On devices none do."""
    if isinstance(settings, DeviceSettings) and settings.backend != "numpy":
        return False
    k = network.shapes[l - 1][1]
    dense = not isinstance(network.operators[l - 1], Filters)
    return ranks > 1 and l > 1 and k >= WIDE and dense and not settings.low_rank(k)


def hidden(network: Network, l: int, samples: int, block: int, dtype: type, clock: Timer, like: Array) -> Hidden:
    """What keeps a_l, by the layer above it."""
    k, k_next = network.sizes[l : l + 2]
    shape = Shape(k, k_next, network.bias, samples, block, dtype, network.beside(l), like)
    return _hidden_kind(network, l)(network.operator(l + 1), network.h(l), shape, clock)


def _hidden_kind(network: Network, l: int) -> type[Hidden]:
    above = network.operator(l + 1)
    if isinstance(above, Filters):
        return Filtered
    if network.beside(l):
        return Stored
    return Averaged if isinstance(above, Pooled) else below_dense(network.sizes[l + 1])


def factor_flops(settings: LowRankSettings, network: Network) -> list[float]:
    """Operations of the factor of every layer, in an iteration: 0 where it is made once, or cheap."""
    flops = []
    for l, (_, k) in enumerate(network.shapes, start=1):
        once = (l == 1 and network.inputs_alone) or isinstance(network.operators[l - 1], Filters)
        p = settings.columns_of(k)
        flops.append(0.0 if once else 2.0 * k * p * p if settings.low_rank(k) else k**3 / 3)
    return flops


def check_layers(settings: LowRankSettings, network: Network, total: int) -> None:
    """Raises UserError where a matrix of the W-updates has too many entries."""
    costs = [_cost(settings, network, l, total) for l in range(1, len(network.shapes) + 1)]
    check_sides([k for cost in costs for _, k in cost.grams], "W-update")
    check_zeros(network)


@dataclass(frozen=True)
class SumsCost:
    """What the least squares of a dense layer cost, beside z a'.

    ``made`` are operations of a a' and its factor, or of what stands for them, ``solve`` those of W from these
    where they count; None where they differ from iteration to iteration. ``shared`` are numbers that are sent,
    ``grams`` the Gram pairs (k', k), ``numbers`` others that are held.
    """

    made: float | None
    solve: float | None
    shared: int
    grams: tuple[tuple[int, int], ...]
    numbers: int

    @property
    def state_bytes(self) -> int:
        """Of sums and factors that are made once."""
        return _held_bytes(self.numbers, self.grams, kept=len(self.grams))


def sums_cost(settings: LowRankSettings, outputs: int, k: int, total: int, l: int) -> SumsCost:
    """Of layer l with k inputs, for ``total`` samples on all ranks."""
    p, triangle, gram = settings.columns_of(k), k * (k + 1) // 2, ((outputs, k),)
    if not settings.low_rank(k):
        return SumsCost(total * k * (k + 1) + k**3 / 3, 0.0, triangle, gram, 0)
    if settings.w_update == "nystrom-pcg":
        return SumsCost(None, None, triangle, gram, k * p)
    # Columns of a a'; B, B'B and two factors; and for the scores one factor and one solve more.
    made = 2.0 * total * k * p + k * p**2 + k * p * (p + 1) + 2 * p**3 / 3
    if settings.columns == "leverage" and l > 1:
        made += k * p**2 + p**3 / 3
    return SumsCost(made, 4.0 * outputs * k * p, k * (p + 1), (), k * (p + 1 + outputs))


def _held_bytes(numbers: int, grams: Sequence[tuple[int, int]], kept: int) -> int:
    """Of sums and factors; a number of a sketch is held about five times, some of them in float64."""
    return 5 * 8 * numbers + solve_bytes(grams, kept=kept)


@dataclass(frozen=True)
class LayersCost:
    """What the layers of a network cost an iteration, on all ranks.

    ``flop`` is None where iterations differ, and ``once`` is what a_0 a_0' takes beside it; ``messages`` and
    ``solve`` are those of ``Cost``; ``state_bytes`` are those of sums, factors and gains; ``kept`` are the numbers
    of all a_l that are kept of a sample.
    """

    flop: float | None
    once: float | None
    messages: tuple[Message, ...]
    solve: float
    state_bytes: int
    kept: int


def layers_cost(
    settings: LowRankSettings, network: Network, total: int, ranks: int, inputs: bool = False, along: int = 0
) -> LayersCost:
    """Of all layers, for ``total`` samples on all ranks; with ``inputs`` a_0 a_0' is sent, too.

    So many numbers of every rank go ``along`` with its rows of the weights.
    """
    matrices = range(1, len(network.shapes) + 1)
    layers = [_cost(settings, network, l, total) for l in matrices]
    shared = [cost.shared for cost in layers]
    if network.inputs_alone and not inputs:
        shared[0] = 0
    everywhere = settings.w_update != "exact" and settings.columns == "leverage"
    wide = [l for l in matrices if _together(settings, network, l, ranks)]
    divided = [l - 1 for l in matrices if l not in wide]
    factors = factor_flops(settings, network)
    work = solve_work([network.shapes[i] for i in divided], [factors[i] for i in divided])
    solves = solve_share(work, [shared[i] for i in divided], ranks, everywhere, along)
    *first, gathering = solves.messages
    together = [wide_share(*network.shapes[l - 1], ranks) for l in wide]
    messages = [*first, *(message for part in together for message in part.messages), gathering]
    below = sorted(set(network.alike.values()))
    above = {l: network.operator(l + 1) for l in below}
    dense = [
        (operator.rows, operator.inputs - network.beside(l))
        for l, operator in above.items()
        if not isinstance(operator, Filters)
    ]
    gains = gains_share(dense, 8, ranks)
    flops = [flop for cost in layers for flop in cost.flops]
    grams = [shape for cost in layers for shape in cost.grams]
    return LayersCost(
        None if None in flops else sum(flop for flop in flops if flop is not None),
        layers[0].once,
        (*messages, *gains.messages),
        solves.operations + gains.operations + sum(part.operations for part in together),
        _held_bytes(sum(cost.numbers for cost in layers), grams, kept=len(layers[0].grams) * network.inputs_alone)
        + sum(cost.gain_bytes for cost in layers),
        sum(
            k_next if _hidden_kind(network, l).by_residuals else k + network.beside(l) + network.bias
            for l, (k, k_next) in enumerate(pairwise(network.sizes[1:]), start=1)
        ),
    )


@dataclass(frozen=True)
class _LayerCost:
    """One layer's operations, numbers of a a' that are sent, Gram pairs (k', k), others held, bytes of gains.

    ``once`` are operations for layer 1, whose a a' is made and sent once.
    """

    flops: tuple[float | None, ...]
    shared: int
    grams: tuple[tuple[int, int], ...] = ()
    numbers: int = 0
    gain_bytes: int = 0
    once: float | None = 0.0


def _cost(settings: LowRankSettings, network: Network, l: int, total: int) -> _LayerCost:
    (outputs, k1), operator = network.shapes[l - 1], network.operators[l - 1]
    if isinstance(operator, Filters):
        flop, numbers, floats = filter_cost(operator, network.bias, l, total)
        return _LayerCost((flop,), floats, numbers=numbers)
    k, rows, below = k1 - network.bias, total, total  # columns of all that W multiplies, and of all a_l among it
    if l == 1 and not network.inputs_alone:
        k, rows, below = k - network.beside(0), network.times[0] * total, (network.times[0] - 1) * total
    products = 4.0 * rows * k1 * outputs  # z a' and W a
    sums = sums_cost(settings, outputs, k1, rows, l)
    held = sums.shared, sums.grams, sums.numbers
    if l == 1 and network.inputs_alone:
        return _LayerCost((products, sums.solve), *held, once=sums.made)
    # Both products of (6), and the factor in V.
    a_update = 4.0 * below * k * outputs, min(k, outputs) ** 3 / 3
    return _LayerCost((products, *a_update, sums.made, sums.solve), *held, gain_bytes(outputs, k))
