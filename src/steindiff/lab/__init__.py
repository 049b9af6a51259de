"""The laboratory: what measures the method, shows it, and proves it. Needs `steindiff[lab]`."""
