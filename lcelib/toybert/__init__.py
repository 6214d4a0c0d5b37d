"""A toy BERT for a toy English: everything that the default profile needs, without a network.

It was built so that there is a bias to find and words that can carry it. It
shows that the method does what the paper says, step by step; only real models
can show that real models behave in the same way.
"""
