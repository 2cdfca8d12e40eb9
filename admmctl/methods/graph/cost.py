"""What an iteration of ``graph-admm`` costs, counted beforehand."""

from admmctl.methods.convolution import filter_numbers, gram_flop, zeros_cost
from admmctl.methods.division import Share, solve_work
from admmctl.methods.gains import gain_bytes, gains_share
from admmctl.methods.gradient.minibatch import batch_bytes, most_rows
from admmctl.methods.graph.accelerate import AccelerationSettings
from admmctl.methods.graph.layer_solves import lasts
from admmctl.methods.graph.matrix_penalties import plan_of
from admmctl.methods.graph.settings import GraphAdmmSettings
from admmctl.methods.layer_sums import solve_share
from admmctl.methods.least_squares import solve_bytes
from admmctl.methods.method import Cost, Message, sums_over_ranks
from admmctl.methods.regularise import regulariser_bytes
from admmctl.model.convolution import Filters
from admmctl.model.gradient import adjoint_flop, parameters
from admmctl.model.network import Network, even


def cost_of(settings: GraphAdmmSettings, network: Network, samples: int, total: int, ranks: int) -> Cost:
    """Of an iteration that sums V V' of every layer that changes; arguments as of ``Method.cost``.

    With new ``weights_above`` variables of all rows of an iteration are held, and every layer has its reduction.
    """
    batch = min(settings.batch or total, total)
    whole, apart, matrices = batch == total, settings.weights_above == "new", settings.penalties == "matrix"
    flop = 0.0
    shared, filtering = [0] * len(network.shapes), 0  # numbers of V V', bytes of spectra
    layers = {network.matrix(i): network.operator(i) for i in range(1, network.layers + 1)}
    for m, ((k_next, k1), times) in enumerate(zip(network.shapes, network.times, strict=True)):
        layer = layers[m + 1]
        flop += 2.0 * times * batch * layer.flop(network.bias)  # W V, R V'
        if matrices:
            continue
        flop += 2.0 * k_next * k1**2  # the solve
        if m > 0 or not (network.inputs_alone and (whole or lasts(settings.gram_every, batch, k1))):
            flop += times * batch * gram_flop(layer, network.bias) + k1**3 / 3  # V V'
            shared[m] = k1 * (k1 + 1) // 2
        if isinstance(layer, Filters):
            filtering += 8 * (filter_numbers(layer, network.bias) + 12 * k1 * k1)
            if m > 0:
                more, numbers = zeros_cost(layer, batch)
                flop, filtering = flop + more, filtering + 40 * numbers
    flop += batch * adjoint_flop(network)  # Q R
    if apart:
        flop += batch * sum(layers[m].flop(network.bias) for m in layers if m > 1)  # what new weights miss
    width = network.sizes[0] + 1 + network.sizes[-1]
    gathered = batch_bytes(width, samples, total, batch, settings.changes_samples)
    if matrices:
        plan = plan_of(settings)
        flop += plan.flop(network, batch)
        sums = plan.bytes(network) + 12 * parameters(network)  # R V', its product, a copy
    else:
        sums = solve_bytes(network.shapes, kept=len(network.shapes), width=8 if whole else 4, remade=True)
    above = {i: network.operator(i + 1) for i in sorted(set(network.alike.values()))}
    gained = {  # shapes of W of dense layers, by the hidden layer below
        i: (layer.rows, min(layer.inputs, network.sizes[i]))
        for i, layer in above.items()
        if not isinstance(layer, Filters)
    }
    sums += sum(gain_bytes(*shape) for shape in gained.values()) + filtering
    rows = most_rows(samples, total, batch)
    columns = rows if apart else even(rows, network.block())
    beside = sum(network.beside(i) for i in range(1, network.layers)) + network.scratch
    blocks = 4 * columns * (3 * sum(network.sizes[1:]) + beside) + regulariser_bytes(settings, network, columns)
    factors = factor_flops(settings, network, batch, total)
    solved = settings.backward != "backprop-unscaled"  # whether W W' of hidden layers is factored for Q
    inner = gained if solved else {}
    flop += sum(min(shape) ** 3 / 3 for shape in inner.values())
    each, automatic = 8 if whole and not matrices else 4, settings.penalties == "automatic"
    if apart:
        # Layer by layer from the top: its gain, its sums, its rows; all rows once more where they are accelerated.
        shares: list[Share] = []
        for i in reversed(range(network.layers)):
            shares += [gains_share([inner[i + 1]] if i + 1 in inner else [], each, ranks)]
            shares += [solve_share(solve_work([network.shapes[i]], [factors[i]]), [shared[i]], ranks)]
        accelerated = (*_accelerating(settings), Message("allgather", 4 * parameters(network)))
        messages = (
            *(message for share in shares for message in share.messages),
            *(accelerated if settings.accelerates else ()),
        )
    else:
        if matrices:
            solves = plan.share(network, ranks)
        else:
            solves = solve_share(solve_work(network.shapes, factors), shared, ranks)
        shares = [gains_share([*inner.values()], each, ranks), solves]
        *sums_first, gathering = solves.messages
        # What is learned of the steps: cosines in every layer, or the length of all.
        lengths = {"automatic": (16 * len(network.shapes),), "matrix": (8,)}.get(settings.penalties, ())
        steps = (*sums_over_ranks(*lengths), *_accelerating(settings))
        messages = (*shares[0].messages, *sums_first, *steps, gathering)
    state = gathered + sums + blocks + (24 if automatic else 12) * parameters(network)
    return Cost(state, flop, batch, messages, sum(share.operations for share in shares))


def factor_flops(settings: GraphAdmmSettings, network: Network, batch: int, total: int) -> list[float]:
    """Operations of the factor of every layer, in an iteration on average."""
    every, inputs = settings.gram_every, network.shapes[0][1]
    flops = [k**3 / 3 / (every if lasts(every, batch, k) else 1) for _, k in network.shapes]
    if network.inputs_alone and settings.same_ridges and (batch == total or lasts(every, batch, inputs)):
        flops[0] = 0.0  # V_0 V_0' and the ridge never change
    return flops


def _accelerating(settings: AccelerationSettings) -> tuple[Message, ...]:
    """What acceleration sends."""
    if settings.anderson:
        m = settings.anderson
        return sums_over_ranks(8, 8 * m * (m + 1))
    return sums_over_ranks(4) if settings.momentum and settings.restart == "adaptive" else ()
