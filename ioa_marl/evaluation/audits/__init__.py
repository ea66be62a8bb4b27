"""Audits of incentives, with a module or a package for each market; `bidders` applies to any market."""
