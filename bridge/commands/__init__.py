"""The commands an operator types, one module each, behind `cli` and with `arguments` in common."""
