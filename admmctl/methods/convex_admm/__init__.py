"""Two-layer ReLU networks trained to the optimum of their convex reformulation, by ADMM (Feng, Shah, Abraham)."""
