"""Runs in other people's formats: tables, TensorBoard event files, MLflow's store."""
