"""Everything that imports Keras or TensorFlow. Nothing else in the package does, so that serving stays light."""
