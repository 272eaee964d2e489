"""From a Keras model to its channel graph: who writes a channel, what passes it on, who reads
it."""
