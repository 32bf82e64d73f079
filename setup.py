"""What pyproject.toml cannot say: a wheel's folder `cartoon/data` is the checkout's `assets`."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["cartoon", "cartoon.*"]), "cartoon.data"],
    package_dir={"cartoon.data": "assets"},
)
