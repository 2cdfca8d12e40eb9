"""What ``graph-admm`` holds on a rank: the weights, what they are solved from, and room for variables of rows."""

from dataclasses import dataclass, field

from admmctl.methods.average import Average
from admmctl.methods.gradient.minibatch import MiniBatches
from admmctl.methods.graph.accelerate import Accelerator
from admmctl.methods.graph.layer_solves import LayerSolves
from admmctl.methods.graph.layers import Linear
from admmctl.methods.graph.matrix_penalties import MatrixSolves
from admmctl.methods.graph.penalties import Penalties
from admmctl.methods.graph.settings import GraphAdmmSettings
from admmctl.methods.method import Array, Problem


@dataclass
class GraphAdmmState:
    """Layers are numbered as in the paper, 1..N. Of samples nothing is kept from one iteration to the next; within
    one there is room for a block of rows, or for all of them where new weights are used on the way down.

    What comes out of an iteration and what accelerates it are of this rank's own rows of the weights alone.
    """

    problem: Problem
    settings: GraphAdmmSettings
    batches: MiniBatches
    accelerator: Accelerator
    average: Average | None
    parameters: Array  # the weights to start from as one vector, and W[i] as views of it
    image: Array  # what came out of the last iteration: this rank's piece of it
    matrices: dict[int, Array]  # W_1, W_2, ..
    W: dict[int, Array]  # of layers 1..N: these, or where layers share a matrix one of them several times
    penalties: Penalties
    solves: LayerSolves | MatrixSolves
    X: dict[int, Array]  # X[i], V[i] and R[i]: (units, rows), for as many rows as there is room for
    V: dict[int, Array]  # what layer i + 1 multiplies, of hidden layers i: V_i with its row of ones
    R: dict[int, Array]
    Q: dict[int, Linear] = field(default_factory=dict)
    iteration: int = 0
    rows_seen: int = 0

    @property
    def rho(self) -> dict[int, float]:
        """Of layers 1..N."""
        matrix = self.problem.network.matrix
        return {i: self.penalties.rho[matrix(i)] for i in self.W}

    @property
    def beta(self) -> dict[int, float]:
        """Of hidden layers 1..N-1."""
        matrix = self.problem.network.matrix
        return {i: self.penalties.beta[matrix(i)] for i in self.V}
