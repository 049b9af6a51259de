"""Energy, variance and spectrum of few-step trajectories, and the law behind them."""
