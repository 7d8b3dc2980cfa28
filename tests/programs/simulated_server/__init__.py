"""A server with vLLM's process tree, titles, phases and call depth, on the simulated CUDA."""
