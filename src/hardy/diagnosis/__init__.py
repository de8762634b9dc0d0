"""Why a network is robust, or not: what is measured of a network beside its accuracies.

Each file answers one question, takes networks in whatever mode they are and leaves them so:

- ligs: is the loss locally linear? `ligs(model, split, Neighbour("gaussian", 0.01))`
- transferability: does what fools one network fool another? `transfer(surrogates, targets, split,
  PGD(Linf(8 / 255))).cells()`; transferred counts what it found.
- features: what does a network learn of robust, or of other, features alone?
  `inverted(penultimate(model, head), start, wanted)`
"""
