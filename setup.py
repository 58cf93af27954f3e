"""Installs keras_imaml. The settings of the development tools are in pyproject.toml."""

import pathlib
import re

from setuptools import find_packages, setup

ROOT = pathlib.Path(__file__).parent


def version() -> str:
    """The version in the source, read without importing TensorFlow."""
    text = (ROOT / "keras_imaml" / "version.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    if found is None:
        raise ValueError('keras_imaml/version.py holds no line __version__ = "..."')
    return found.group(1)


def readme() -> str:
    """The long description; empty in a copy without a README."""
    file = ROOT / "README.md"
    return file.read_text(encoding="utf-8") if file.exists() else ""


# The site reads sources and notebooks, and runs nothing: `make docs` installs these alone. Ruff
# breaks the lines of signatures.
DOCS = (ROOT / "docs" / "requirements.txt").read_text(encoding="utf-8").split()
# The page of `keras-imaml demo`, and the formats in which it gives models away.
# The canvas of Gradio 6.0 does not send a first drawing.
DEMO = ["gradio>=6.31", "matplotlib>=3.8", "pillow>=10.0", "tf2onnx>=1.17"]

setup(
    name="keras-imaml",
    version=version(),
    description="Meta-learning with implicit gradients (iMAML) for Keras 3 on TensorFlow",
    long_description=readme(),
    long_description_content_type="text/markdown",
    author="The keras_imaml authors",
    license="Apache-2.0",
    keywords="meta-learning few-shot-learning implicit-gradients imaml maml keras tensorflow",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    packages=find_packages(include=["keras_imaml", "keras_imaml.*", "trainers", "trainers.*"]),
    package_data={
        "keras_imaml": ["py.typed", "data/splits/*.json", "pretrained/files/*"],
        "trainers": ["presets/**/*.flags"],
    },
    entry_points={"console_scripts": ["keras-imaml = trainers.__main__:main"]},
    python_requires=">=3.10",
    install_requires=[
        "absl-py>=2.0",
        "filelock>=3.12",
        # tensorflow-datasets 4.9.10 imports it on every Python and declares it only for old ones.
        "importlib_resources>=6.0",
        "keras>=3.13",
        "numpy>=1.26",
        # TensorFlow 2.21 no longer brings it.
        "tensorboard>=2.20",
        "tensorflow>=2.20",
        # Older ones fail with protobuf 7.
        "tensorflow-datasets>=4.9.10",
    ],
    extras_require={
        "gpu": ["tensorflow[and-cuda]>=2.20"],
        "benchmarks": ["keras-hub>=0.30", "matplotlib>=3.8", "playwright>=1.50"],
        "demo": DEMO,
        "docs": DOCS,
        "onnx": ["onnxruntime>=1.20", "tf2onnx>=1.17"],
        "dev": [
            *DEMO,  # the tests open its page
            *DOCS,  # the tests build the site
            "ai-edge-litert>=1.2",
            "cosmic-ray>=8.3",
            "hypothesis>=6.100",
            "ipykernel>=6.29",
            "jupytext>=1.16",
            "keras-tuner>=1.4.7",
            "kubernetes-validate>=1.29",
            "nbclient>=0.10",
            "onnxruntime>=1.20",
            "playwright>=1.50",
            "proselint>=0.16",
            "pytest>=9.0",
            "pytest-cov>=6.0",
            "pytest-xdist>=3.6",
            "tf2onnx>=1.17",
            # Formatting and type errors differ from one release line to the next.
            "mypy>=2.4,<3",
            "ruff>=0.17,<0.18",
            # Of make test-wheel.
            "uv>=0.5",
        ],
    },
)
