"""A toy BERT with a toy English: everything that the default profile needs, without a network.

It was built so that there is a bias to find and words that can carry it. What
it shows is that the method does what the paper says, step by step; that real
models behave so, only real models can show.
"""
