"""Packages and their files, found by looking, so that a new folder cannot be forgotten.

The top-level folders ``envs``, ``agents`` and ``conf`` become ``ioa_marl.envs``, ``ioa_marl.agents`` and
``ioa_marl.conf``. In a checkout, links of these names in ``ioa_marl`` let tools find them; here they are left out, so
that every file is seen once, and installing works as well where the links are missing.
"""

from setuptools import find_namespace_packages, find_packages, setup

ROOTS = {"ioa_marl.envs": "envs", "ioa_marl.agents": "agents", "ioa_marl.conf": "conf"}
LINKED = [pattern for name in ("envs", "agents", "conf") for pattern in (name, f"{name}.*")]

packages = ["ioa_marl", *(f"ioa_marl.{p}" for p in find_packages("ioa_marl", exclude=LINKED))]
for name, folder in ROOTS.items():
    find = find_namespace_packages if folder == "conf" else find_packages
    packages += [name, *(f"{name}.{p}" for p in find(folder))]

setup(
    packages=packages,
    package_dir={"ioa_marl": "ioa_marl", **ROOTS},
    package_data={"": ["*.yaml", "*.pyi", "py.typed"]},
)
