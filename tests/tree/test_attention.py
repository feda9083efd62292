"""The attention function alone: against a dense mask, in every backend the machine can run."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from plaudit.tree import build_tree_batch
from plaudit.tree import tiled_attention as tiled_module
from plaudit.tree.batch import TreeBatch
from plaudit.tree.flex_attention import flex_attention
from plaudit.tree.tiled_attention import tiled_attention
from plaudit.tree.varlen_attention import varlen_segments


def make_tree(seed: int = 0) -> TreeBatch:
    rng = np.random.default_rng(seed)
    prompt = rng.integers(0, 50, 40)
    branches = [np.concatenate([prompt, rng.integers(0, 50, n)]) for n in (1, 9, 30, 200)]
    return build_tree_batch(
        [*branches, rng.integers(0, 50, 25), prompt[:20], prompt[:1]], min_shared_tokens=1
    )


def make_heads(tree: TreeBatch, *, num_heads: int, num_key_heads: int, dim: int = 8) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = [(num_heads, dim), (num_key_heads, dim), (num_key_heads, dim)]
    return [torch.randn(1, h, tree.num_tokens, d, generator=generator, requires_grad=True) for h, d in shapes]


def dense_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    tree: TreeBatch,
    *,
    scaling: float,
    window: int | None = None,
    softcap: float | None = None,
) -> torch.Tensor:
    """The definition, in one dense mask over the whole row and float64."""
    rows = torch.arange(tree.num_tokens)
    visible = (rows[None] <= rows[:, None]) & (rows[:, None] < tree.exit[None])
    if window is not None:
        visible &= tree.position_ids[0][:, None] - tree.position_ids[0][None] < window
    groups = query.shape[1] // key.shape[1]
    key, value = (part.double().repeat_interleave(groups, dim=1) for part in (key, value))
    scores = query.double() @ key.transpose(2, 3) * scaling
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    probabilities = scores.masked_fill(~visible, float("-inf")).softmax(-1)
    return (probabilities @ value).transpose(1, 2)


@pytest.mark.parametrize("tile_cost", [1.0, 5e6, 1e12], ids=["many tiles", "default", "one tile"])
@pytest.mark.parametrize("window", [None, 7])
@pytest.mark.parametrize("softcap", [None, 1.5])
@pytest.mark.parametrize(("num_heads", "num_key_heads"), [(4, 4), (6, 2)])
def test_tiled_attention_and_its_gradients_equal_the_dense_definition(
    monkeypatch: pytest.MonkeyPatch,
    tile_cost: float,
    window: int | None,
    softcap: float | None,
    num_heads: int,
    num_key_heads: int,
) -> None:
    monkeypatch.setattr(tiled_module, "TILE_COST_FLOPS", tile_cost)
    tree = make_tree()
    heads = make_heads(tree, num_heads=num_heads, num_key_heads=num_key_heads)
    weights = torch.randn(1, tree.num_tokens, num_heads, 8, generator=torch.Generator().manual_seed(2))
    results = []
    for attend in (tiled_attention, dense_attention):
        output = attend(*heads, tree, scaling=0.5, window=window, softcap=softcap)
        results.append([output, *torch.autograd.grad((output * weights).sum(), heads)])
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours.double(), expected.double(), rtol=1e-5, atol=2e-6)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("window", [None, 7])
@pytest.mark.parametrize("softcap", [None, 1.5])
def test_flex_attention_equals_the_dense_definition(window: int | None, softcap: float | None) -> None:
    # Forward only: torch's FlexAttention has no backward pass on CPUs.
    tree = make_tree()
    heads = [part.detach() for part in make_heads(tree, num_heads=4, num_key_heads=2)]
    with torch.no_grad():
        ours = flex_attention(*heads, tree, scaling=0.5, window=window, softcap=softcap)
    expected = dense_attention(*heads, tree, scaling=0.5, window=window, softcap=softcap)
    torch.testing.assert_close(ours.double(), expected, rtol=1e-5, atol=1e-6)


def test_varlen_segments_with_end_aligned_causal_attention_equal_the_dense_definition() -> None:
    # The kernel itself needs CUDA; what it computes on these segments is written out here.
    tree = make_tree()
    query, key, value = (part.detach() for part in make_heads(tree, num_heads=2, num_key_heads=2))
    segments = varlen_segments(tree.plan, "cpu")
    output = torch.empty(tree.num_tokens, 2, 8)
    for i in range(len(segments.query_offsets) - 1):
        q = slice(int(segments.query_offsets[i]), int(segments.query_offsets[i + 1]))
        k = slice(int(segments.key_offsets[i]), int(segments.key_offsets[i + 1]))
        rows = segments.key_rows[k]
        scores = query[0, :, q] @ key[0][:, rows].transpose(1, 2) * 0.5
        num_queries, num_keys = scores.shape[1:]
        causal = torch.ones(num_queries, num_keys, dtype=torch.bool).tril(num_keys - num_queries)
        mixed = scores.masked_fill(~causal, float("-inf")).softmax(-1) @ value[0][:, rows]
        output[q] = mixed.transpose(0, 1)
    expected = dense_attention(query, key, value, tree, scaling=0.5)
    torch.testing.assert_close(output[None].double(), expected, rtol=1e-5, atol=1e-6)
    assert segments.max_queries == 200 and segments.max_keys == 240


def test_no_token_sees_another_branch() -> None:
    tree = make_tree()
    heads = [part.detach() for part in make_heads(tree, num_heads=2, num_key_heads=2)]
    before = tiled_attention(*heads, tree, scaling=0.5)
    changed_node = 3
    start, stop = int(tree.plan.node_start[changed_node]), int(tree.plan.node_exit[changed_node])
    for part in heads[1:]:
        part[:, :, start:stop] += 10.0
    after = tiled_attention(*heads, tree, scaling=0.5)
    same = (before == after).all(dim=(0, 2, 3))
    outside = torch.ones(tree.num_tokens, dtype=torch.bool)
    outside[start:stop] = False
    assert same[outside].all() and not same[start:stop].any()


def test_bfloat16_autocast_casts_queries_that_a_model_left_in_float32() -> None:
    tree = make_tree()
    heads = make_heads(tree, num_heads=2, num_key_heads=2)
    expected = dense_attention(*heads, tree, scaling=0.5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = tiled_attention(*heads, tree, scaling=0.5)
    assert output.dtype == torch.bfloat16
    assert float((output.double() - expected).abs().max().detach()) < 0.05
    output.float().sum().backward()
    assert heads[0].grad is not None and heads[0].grad.dtype == torch.float32
