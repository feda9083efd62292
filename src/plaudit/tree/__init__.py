"""The prefix tree: token sequences merged on their beginnings, as tensors, and attention over them."""

from plaudit.tree.batch import TreeBatch, build_tree_batch
from plaudit.tree.plan import TreePlan, num_distinct_tokens, path_rows, plan_tree

__all__ = ["TreeBatch", "TreePlan", "build_tree_batch", "num_distinct_tokens", "path_rows", "plan_tree"]
