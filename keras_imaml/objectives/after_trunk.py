"""The objective of the layers after a trunk, whose inputs are what the trunk gives."""

import dataclasses

import tensorflow as tf

from keras_imaml.objectives.task_objective import TaskObjective


class AfterTrunk(TaskObjective):
    """An objective whose inputs are outputs of a trunk, and differentiated like meta-parameters."""

    @property
    def trunk_outputs(self) -> list[tf.Tensor]:
        """See `TaskObjective`. Integer inputs that bypass the trunk have no gradient."""
        inputs = tf.nest.flatten((self.tasks.support_x, self.tasks.query_x))
        return [z for z in inputs if z.dtype.is_floating]


def after_trunk(objective: TaskObjective) -> TaskObjective:
    """Evaluate the trunk once; without one, give the objective itself."""
    trunk, tasks, training = objective.outer.trunk, objective.tasks, objective.training
    if trunk is None or isinstance(objective, AfterTrunk):
        return objective
    support_x, query_x = tasks.support_x, tasks.query_x
    of_support, of_query = objective.draws_of(query=False), objective.draws_of(query=True)
    if not tf.nest.flatten(query_x):
        support_x = trunk(support_x, training, None, of_support, tasks.present(query=False))
    elif objective.transductive or not trunk.normalizes_by_batch:
        support_x = trunk(support_x, training, None, of_support, tasks.present(query=False))
        query_x = trunk(query_x, training, None, of_query, tasks.present(query=True))
    else:
        joined, rows, counted = objective.joined_inputs()
        outputs = trunk(joined, training, rows, of_query, counted)
        support_x = tf.nest.map_structure(lambda z: z[:, :rows], outputs)
        query_x = tf.nest.map_structure(lambda z: z[:, rows:], outputs)
    parts = {f.name: getattr(objective, f.name) for f in dataclasses.fields(objective)}
    return AfterTrunk(**{**parts, "tasks": tasks._replace(support_x=support_x, query_x=query_x)})
