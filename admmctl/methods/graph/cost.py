"""What an iteration of ``graph-admm`` costs, counted beforehand."""

from admmctl.methods.division import solve_work
from admmctl.methods.gains import gain_bytes, gains_share
from admmctl.methods.gradient.minibatch import batch_bytes, most_rows
from admmctl.methods.graph.accelerate import AccelerationSettings
from admmctl.methods.graph.layer_solves import lasts
from admmctl.methods.graph.settings import GraphAdmmSettings
from admmctl.methods.layer_sums import solve_share
from admmctl.methods.least_squares import solve_bytes
from admmctl.methods.method import Cost, Message, sums_over_ranks
from admmctl.methods.regularise import regulariser_bytes
from admmctl.model.gradient import adjoint_flop, parameters
from admmctl.model.network import Network, even


def cost_of(settings: GraphAdmmSettings, network: Network, samples: int, total: int, ranks: int) -> Cost:
    """Of an iteration that sums V V' of every layer that changes; arguments as of ``Method.cost``."""
    batch = min(settings.batch or total, total)
    whole = batch == total
    flop = 0.0
    shared = [0] * len(network.shapes)  # numbers of V V'
    for m, ((k_next, k1), times) in enumerate(zip(network.shapes, network.times, strict=True)):
        flop += times * batch * 4.0 * k1 * k_next + 2.0 * k_next * k1**2  # W V and R V', and the solve
        if m > 0 or not (network.inputs_alone and (whole or lasts(settings.gram_every, batch, k1))):
            flop += times * batch * k1 * (k1 + 1.0) + k1**3 / 3  # V V'
            shared[m] = k1 * (k1 + 1) // 2
    flop += batch * adjoint_flop(network)  # Q R
    width = network.sizes[0] + 1 + network.sizes[-1]
    gathered = batch_bytes(width, samples, total, batch, settings.changes_samples)
    sums = solve_bytes(network.shapes, kept=len(network.shapes), width=8 if whole else 4, remade=True)
    gained = [(network.sizes[i + 1], network.sizes[i]) for i in sorted(set(network.alike.values()))]  # shapes of W
    sums += sum(gain_bytes(k_next, k) for k_next, k in gained)
    columns = even(most_rows(samples, total, batch), network.block())
    of_steps = sum(network.beside(i) for i in range(1, network.layers))
    blocks = 4 * columns * (3 * sum(network.sizes[1:]) + of_steps) + regulariser_bytes(settings, network, columns)
    factors = factor_flops(settings, network, batch, total)
    solves = solve_share(solve_work(network.shapes, factors), shared, ranks)
    solved = settings.backward != "backprop-unscaled"  # whether W W' of hidden layers is factored for Q
    inner = gained if solved else []
    flop += sum(min(shape) ** 3 / 3 for shape in inner)
    gains = gains_share(inner, 8 if whole else 4, ranks)
    *sums_first, gathering = solves.messages
    automatic = settings.penalties == "automatic"
    learning = sums_over_ranks(16 * len(network.shapes)) if automatic else ()
    messages = (*gains.messages, *sums_first, *learning, *_accelerating(settings), gathering)
    state = gathered + sums + blocks + (24 if automatic else 12) * parameters(network)
    return Cost(state, flop, batch, messages, solves.operations + gains.operations)


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
