"""The rows of the paper's tables, with the accuracies that others have published."""

from typing import NamedTuple


class Row(NamedTuple):
    """One row of the paper's tables, and what others have published for it, in percent."""

    name: str
    dataset: str
    way: int
    shot: int
    gradient_descent: float
    hessian_free: float
    maml_plus_plus: float


# Rajeswaran et al., 2019, tables 2 and 3; Antoniou et al., 2019.
ROWS = (
    Row("5-way 1-shot", "omniglot", 5, 1, 99.16, 99.50, 99.47),
    Row("5-way 5-shot", "omniglot", 5, 5, 99.67, 99.74, 99.85),
    Row("20-way 1-shot", "omniglot", 20, 1, 94.46, 96.18, 97.65),
    Row("20-way 5-shot", "omniglot", 20, 5, 98.69, 99.14, 99.33),
    Row("5-way 1-shot", "mini_imagenet", 5, 1, 48.96, 49.30, 52.40),
)
DATA_SETS = {"omniglot": "Omniglot", "mini_imagenet": "mini-ImageNet"}
PUBLISHED = {
    "published: iMAML, gradient descent": "gradient_descent",
    "published: iMAML, Hessian-free": "hessian_free",
    "published: MAML++": "maml_plus_plus",
}
