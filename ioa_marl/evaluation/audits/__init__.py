"""Audits of incentives: what each mechanism guarantees, measured by deviations from it.

`run_audit` audits any policies in any market. A market has its own module or package here, of the same name, with a
function ``audit``; a market of another package names its own in `Game.audit`. `constant_actions` applies to any market.
"""
