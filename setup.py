from setuptools import find_namespace_packages, find_packages, setup

# Top-level folders become subpackages of one import package; a static list would forget a new subfolder.
ROOTS = {"ioa_marl.envs": "envs", "ioa_marl.agents": "agents"}

packages = ["ioa_marl", *(f"ioa_marl.{p}" for p in find_packages("ioa_marl"))]
for name, folder in ROOTS.items():
    packages += [name, *(f"{name}.{p}" for p in find_packages(folder))]
packages += ["ioa_marl.conf", *(f"ioa_marl.conf.{p}" for p in find_namespace_packages("conf"))]

setup(
    packages=packages,
    package_dir={"ioa_marl": "ioa_marl", **ROOTS, "ioa_marl.conf": "conf"},
    package_data={"": ["**/*.yaml", "*.yaml", "py.typed"]},
)
