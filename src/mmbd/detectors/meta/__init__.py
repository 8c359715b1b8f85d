"""META: a classifier of classifiers, trained on shadow models with and without backdoors."""
