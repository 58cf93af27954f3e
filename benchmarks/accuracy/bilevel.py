r"""Compare meta-gradients of bilevel problems with those of other libraries.

    make bilevel

Ridge regression with a learned decay, weights of noisy examples, and few-shot images, in float64.
Each library computes them in a process of its own. The exit status is 1 if a meta-gradient is
further from ours than 1e-5 of its length.
"""

import json
import os
import subprocess
from collections.abc import Sequence

import numpy as np
from absl import app, flags

from benchmarks.machine import ROOT

FLAGS = flags.FLAGS
flags.DEFINE_string("peers_python", ".venv-peers/bin/python", "Interpreter of the peers.")
flags.DEFINE_list("only", [], "Names of peers; empty: all.")

PEERS = {  # by the module, what it uses and whether it differentiates steps
    "torchopt_root": ("TorchOpt custom_root", False),
    "torchopt_module": ("TorchOpt ImplicitMetaGradientModule", False),
    "betty_problem": ("Betty ImplicitProblem", False),
    "jaxopt_root": ("JAXopt custom_root", False),
    "higher_loop": ("higher innerloop_ctx", True),
}
TOLERANCE = 1e-5


def main(argv: Sequence[str]) -> None:
    """Compare as the flags say."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    from benchmarks.accuracy import bilevel_ours
    from benchmarks.accuracy.peers.problems import PROBLEMS

    worst = 0.0
    references: dict[tuple[str, bool], np.ndarray] = {}
    print(f"{'who':<38}", *(f"{name:>12}" for name in PROBLEMS), " relative difference")
    for module in FLAGS.only or PEERS:
        who, unroll = PEERS[module]
        answer = of_peer(module)
        differences = []
        for name, problem in PROBLEMS.items():
            if (name, unroll) not in references:
                references[name, unroll] = bilevel_ours.meta_gradient(problem(), unroll)
            reference = references[name, unroll]
            gradient = np.array(answer["meta_gradients"][name])
            differences.append(np.linalg.norm(reference - gradient) / np.linalg.norm(gradient))
        worst = max(worst, *differences)
        versions = ", ".join(f"{name} {version}" for name, version in answer["versions"].items())
        print(f"{who:<38}", *(f"{d:>12.1e}" for d in differences), f" {versions}", flush=True)
    if not worst <= TOLERANCE:
        raise SystemExit(f"Meta-gradients differ by {worst:.1e}; expected at most {TOLERANCE:g}")


def of_peer(module: str) -> dict:
    """What a peer prints."""
    if not os.path.exists(FLAGS.peers_python):
        raise app.UsageError(
            "Invalid value for `--peers_python`. Expected the interpreter that `make bilevel` "
            f"makes. Received: {FLAGS.peers_python}"
        )
    command = [FLAGS.peers_python, "-W", "ignore", "-m", f"benchmarks.accuracy.peers.{module}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{module} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    app.run(main)
