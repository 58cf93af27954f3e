r"""A web page on this machine: draw characters of your own, and a learner has learned them.

    keras-imaml demo

`make demo` and `python -m trainers.demo` are the same. The page needs `pip install
'keras-imaml[demo]'`, opens with the learners of the package, and fetches nothing from elsewhere.
"""

from trainers.demo.server import main as main
from trainers.demo.server import parser as parser
