"""Where the fingerprint enters the package. Whoever moves or renames something edits this file and no other.

A fingerprint compares values, so names may change freely behind these doors: the registry's names of markets and
agents, the names of presets, roles and settings, and the command's overrides are taken to stay.
"""

from __future__ import annotations

import importlib
from typing import Any

DOORS = {
    # Markets and their evaluation.
    "env_names": "ioa_marl.registry:env_names",
    "agent_names": "ioa_marl.registry:agent_names",
    "registry_entry": "ioa_marl.registry:entry",
    "load_env": "ioa_marl.registry:load_env",
    "compute_references": "ioa_marl.evaluation.protocol:compute_references",
    "score": "ioa_marl.evaluation:score",
    # Training.
    "specification": "ioa_marl.training.compose:specification",
    "train_seeds": "ioa_marl.training.seeds:train_seeds",
    "load_checkpoint": "ioa_marl.foundations.checkpoint:load",
    "user_error": "ioa_marl.foundations.errors:UserError",
    "cache_folder": "ioa_marl.foundations.paths:cache_folder",
    # Double auctions.
    "simulate": "ioa_marl.markets.double_dutch.auction:simulate",
    "double_dutch_preset": "ioa_marl.markets.double_dutch.params:preset",
    "fixed_step_frontier": "ioa_marl.markets.double_dutch.references:fixed_step_frontier",
    "best_fixed_step": "ioa_marl.markets.double_dutch.references:best_fixed_step",
    "sorted_matching": "ioa_marl.markets.double_dutch.references:sorted_matching",
    "trade_reduction": "ioa_marl.markets.double_dutch.rivals:trade_reduction",
    "mcafee": "ioa_marl.markets.double_dutch.rivals:mcafee",
    "k_double_auction": "ioa_marl.markets.double_dutch.rivals:k_double_auction",
    "sbba": "ioa_marl.markets.double_dutch.rivals:sbba",
    "double_dutch_mechanism": "ioa_marl.evaluation.audits.double_dutch:double_dutch_mechanism",
    "utility_curve": "ioa_marl.evaluation.audits.double_dutch:utility_curve",
    "incentive_regret": "ioa_marl.evaluation.audits.double_dutch:incentive_regret",
    # The second-bid auction.
    "second_bid_preset": "ioa_marl.markets.second_bid.params:preset",
    "allocate": "ioa_marl.markets.second_bid.auction:allocate",
    "draw_tasks": "ioa_marl.markets.second_bid.references:draw_tasks",
    "full_information": "ioa_marl.markets.second_bid.references:full_information",
    "best_threshold": "ioa_marl.markets.second_bid.references:best_threshold",
    "calibration": "ioa_marl.markets.second_bid.references:calibration",
    "pareto_optimum": "ioa_marl.markets.second_bid.references:pareto_optimum",
    "fixed_rule": "ioa_marl.evaluation.audits.second_bid:fixed",
    "surplus_maximising": "ioa_marl.evaluation.audits.second_bid:surplus_maximising",
    "station_regret": "ioa_marl.evaluation.audits.second_bid:station_regret",
    "scripted_auctioneer": "ioa_marl.evaluation.audits.second_bid:scripted_auctioneer",
    "episode_regret": "ioa_marl.evaluation.audits.second_bid:episode_regret",
    "adverse_selection": "ioa_marl.evaluation.audits.second_bid:adverse_selection",
    # Stackelberg pricing.
    "stackelberg_preset": "ioa_marl.markets.stackelberg.params:preset",
    "draw_markets": "ioa_marl.markets.stackelberg.params:draw_markets",
    "answer_to": "ioa_marl.markets.stackelberg.equilibrium:answer_to",
    "follower_utilities": "ioa_marl.markets.stackelberg.equilibrium:follower_utilities",
    "best_response_price": "ioa_marl.markets.stackelberg.equilibrium:best_response_price",
    "nash_conv": "ioa_marl.markets.stackelberg.equilibrium:nash_conv",
    "solve_equilibrium": "ioa_marl.markets.stackelberg.equilibrium:solve_equilibrium",
    "solve_batch": "ioa_marl.markets.stackelberg.equilibrium:solve_batch",
    "latencies": "ioa_marl.markets.stackelberg.equilibrium:latencies",
    "side_profits": "ioa_marl.markets.stackelberg.references:side_profits",
    "equilibrium_on_grid": "ioa_marl.markets.stackelberg.references:equilibrium_on_grid",
    "stackelberg_posted_pair": "ioa_marl.markets.stackelberg.references:best_posted_pair",
    # The two-tier market.
    "two_tier_preset": "ioa_marl.markets.two_tier.params:preset",
    "best_fixed_pair": "ioa_marl.markets.two_tier.references:best_fixed_pair",
    "two_tier_posted_pair": "ioa_marl.markets.two_tier.references:best_posted_pair",
    # Slicing.
    "utilities": "ioa_marl.markets.vcg_slicing.baselines:utilities",
    "equal_split": "ioa_marl.markets.vcg_slicing.baselines:equal_split",
    "kelly_split": "ioa_marl.markets.vcg_slicing.baselines:kelly_split",
    "greedy_split": "ioa_marl.markets.vcg_slicing.baselines:greedy_split",
    "welfare_optimum": "ioa_marl.markets.vcg_slicing.optimum:welfare_optimum",
    "clarke_payments": "ioa_marl.markets.vcg_slicing.optimum:clarke_payments",
    "quantised_optimum": "ioa_marl.markets.vcg_slicing.quantised.auction:quantised_optimum",
    "quantised_payments": "ioa_marl.markets.vcg_slicing.quantised.auction:quantised_payments",
    "quantised_bids": "ioa_marl.markets.vcg_slicing.quantised.auction:quantised_bids",
    "full_variables": "ioa_marl.markets.vcg_slicing.quantised.auction:full_variables",
    "full_bytes": "ioa_marl.markets.vcg_slicing.quantised.auction:full_bytes",
    "information_volume": "ioa_marl.markets.vcg_slicing.quantised.auction:information_volume",
    "misreport_regret": "ioa_marl.evaluation.audits.vcg_slicing.mechanisms:misreport_regret",
    "individual_rationality": "ioa_marl.evaluation.audits.vcg_slicing.mechanisms:individual_rationality",
    "quantised_vcg": "ioa_marl.evaluation.audits.vcg_slicing.collusion:quantised_vcg",
    "collusion_gain": "ioa_marl.evaluation.audits.vcg_slicing.collusion:collusion_gain",
    # The dual currency.
    "loans": "ioa_marl.markets.vcg_slicing.dual_currency.equations:loans",
    "noise_scale": "ioa_marl.markets.vcg_slicing.dual_currency.equations:noise_scale",
    "disturbed": "ioa_marl.markets.vcg_slicing.dual_currency.equations:disturbed",
    "externalities": "ioa_marl.markets.vcg_slicing.dual_currency.equations:externalities",
    "settle": "ioa_marl.markets.vcg_slicing.dual_currency.equations:settle",
    "moments_of": "ioa_marl.markets.vcg_slicing.dual_currency.equations:moments_of",
    "add_to_moments": "ioa_marl.markets.vcg_slicing.dual_currency.equations:add_to_moments",
    "estimated_rate": "ioa_marl.markets.vcg_slicing.dual_currency.equations:estimated_rate",
    "rate_as_printed": "ioa_marl.markets.vcg_slicing.dual_currency.equations:rate_as_printed",
    "moving_average": "ioa_marl.markets.vcg_slicing.dual_currency.equations:moving_average",
    "balanced_bids": "ioa_marl.markets.vcg_slicing.dual_currency.equations:balanced_bids",
    "interest_system": "ioa_marl.markets.vcg_slicing.dual_currency.equations:interest_system",
    "prior_center": "ioa_marl.markets.vcg_slicing.dual_currency.utility_fit:prior_center",
    "fitted_types": "ioa_marl.markets.vcg_slicing.dual_currency.utility_fit:fitted_types",
    "fit": "ioa_marl.markets.vcg_slicing.dual_currency.utility_fit:fit",
    "play_bids": "ioa_marl.evaluation.audits.vcg_slicing.bid_play:play_bids",
    "group_deviation": "ioa_marl.evaluation.audits.vcg_slicing.dual_currency:group_deviation",
    "joint_deviation": "ioa_marl.evaluation.audits.vcg_slicing.dual_currency:joint_deviation",
    "deviation_curve": "ioa_marl.evaluation.audits.vcg_slicing.dual_currency:deviation_curve",
    "scale_in_play": "ioa_marl.evaluation.audits.vcg_slicing.dual_currency:scale_in_play",
    "scale_fixture": "ioa_marl.evaluation.audits.vcg_slicing.dual_currency_theory:scale_fixture",
    "rank_deficiency": "ioa_marl.evaluation.audits.vcg_slicing.dual_currency_theory:rank_deficiency",
    "dual_currency_volume": "ioa_marl.evaluation.audits.vcg_slicing.dual_currency_theory:dual_currency_volume",
    # Physics and statistics.
    "db_to_ratio": "ioa_marl.markets.common.physics:db_to_ratio",
    "dbm_to_watt": "ioa_marl.markets.common.physics:dbm_to_watt",
    "shannon_rate": "ioa_marl.markets.common.physics:shannon_rate",
    "transfer_time": "ioa_marl.markets.common.physics:transfer_time",
    "processing_time": "ioa_marl.markets.common.physics:processing_time",
    "transmission_energy": "ioa_marl.markets.common.physics:transmission_energy",
    "computing_time": "ioa_marl.markets.common.physics:computing_time",
    "computing_energy": "ioa_marl.markets.common.physics:computing_energy",
    "mobility_factor": "ioa_marl.markets.common.physics:mobility_factor",
    "philox_block": "ioa_marl.foundations.philox:philox_block",
    "fill_uniform": "ioa_marl.foundations.philox:fill_uniform",
    "interquartile_mean": "ioa_marl.evaluation.statistics:interquartile_mean",
    "estimate": "ioa_marl.evaluation.statistics:estimate",
    "probability_of_improvement": "ioa_marl.evaluation.statistics:probability_of_improvement",
}
"""Import strings ``module:attribute``, by the name that the fingerprint uses."""

NAMES = {
    # Attributes of a game.
    "roles": "roles",
    "presets": "presets",
    "infeasible": "infeasible",
    "default_roles": "default_controlled_roles",
    "instanced": "instanced",
    "final_states": "final_states",
    "scripted": "scripted",
    "scripted_policies": "scripted_policies",
    # Attributes of a step.
    "observations": "observations",
    "rewards": "rewards",
    "active": "active",
    "terminated": "terminated",
    "truncated": "truncated",
    "final_observations": "final_observations",
    "final_state": "final_state",
    "metrics": "metrics",
    # Keywords of the environments that are made by name, and of plain functions.
    "roles_keyword": "controlled_roles",
    # Keys of a checkpoint and of ``result.json``, and attributes of a run.
    "policies": "policies",
    "scores": "scores",
    "references": "references",
    "gains": "bidder_gains",
    "seed_folder": "seed_folder",
    "checkpoint_file": "checkpoint/latest.safetensors",
    "episodes_file": "evaluation.parquet",
    "result_file": "result.json",
}
"""Names of attributes, keywords, keys and files, by the name that the fingerprint uses."""


def door(name: str) -> Any:
    """Import what is behind a door."""
    module, _, attribute = DOORS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def of(thing: Any, name: str) -> Any:
    """Return an attribute of a game, a step or a run."""
    return getattr(thing, NAMES[name])


def own_names(kind: str) -> list[str]:
    """Return the registry's names of this package's own markets (``environment``) or agents (``agent``)."""
    names = door("env_names" if kind == "environment" else "agent_names")()
    return [name for name in names if door("registry_entry")(kind, name).source.startswith("ioa_marl")]
