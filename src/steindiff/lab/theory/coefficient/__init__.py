"""Coefficients beside the oracle's, and what a wrong score does to one."""
