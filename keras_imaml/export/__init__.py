"""From a learner to what is deployed: SavedModels and adapted Keras models."""
