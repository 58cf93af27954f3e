"""How well learners classify: results of runs, and their tables and plots."""
